// Light or dark: as the system has it, until somebody switches.

const KEY = "ruichat-theme";

/** Shows the theme that was chosen in this browser. */
export function showTheme() {
  document.documentElement.dataset.theme = localStorage.getItem(KEY) ?? "";
}

/** Takes the other theme, from now on. */
export function switchTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  localStorage.setItem(KEY, root.dataset.theme);
}
