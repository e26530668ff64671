// What stands after "#" in the address goes through the login too: only the browser knows it.

/** Where to go after the login, with the fragment unless it has one. */
function whole(next) {
  return next.includes("#") ? next : next + location.hash;
}

for (const field of document.querySelectorAll("input[name=next]")) field.value = whole(field.value);
for (const link of document.querySelectorAll("a[href*='next=']")) {
  const address = new URL(link.href);
  address.searchParams.set("next", whole(address.searchParams.get("next")));
  link.href = address;
}
const onward = document.querySelector("a[data-onward]");
if (onward) location.replace(onward.href);
