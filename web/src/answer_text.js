// An answer's text cut into its claims and citations.

const CITATION = /\[((?:[A-Z]+·)?R\d{1,4})\]/g;

/**
 * Words and names of regions in turn.
 *
 * @param {string} words with citations like "[R7]" or "[B·R7]".
 * @returns {Array<{words: string} | {name: string}>}
 */
export function citationParts(words) {
  const parts = [];
  let at = 0;
  for (const match of words.matchAll(CITATION)) {
    if (match.index > at) parts.push({ words: words.slice(at, match.index) });
    parts.push({ name: match[1] });
    at = match.index + match[0].length;
  }
  if (at < words.length) parts.push({ words: words.slice(at) });
  return parts;
}

/**
 * Stretches of a text, with the claim that each one is; words between claims have none.
 *
 * @param {string} whole
 * @param {Array<{text: string}>} claims in the order of the text.
 */
export function claimParts(whole, claims) {
  const parts = [];
  let at = 0;
  for (const claim of claims) {
    const start = whole.indexOf(claim.text, at);
    if (start < 0 || !claim.text) continue;
    if (start > at) parts.push({ words: whole.slice(at, start), claim: null });
    parts.push({ words: claim.text, claim });
    at = start + claim.text.length;
  }
  if (at < whole.length) parts.push({ words: whole.slice(at), claim: null });
  return parts;
}
