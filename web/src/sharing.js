// With whom a case is shared.

import { button, el } from "./dom.js";
import { text } from "./language.js";
import { complain, field, notify, openDialog } from "./notices.js";

/** Who sees a case beside its owner. */
export function membersOf(server, { id }) {
  return server.list(pathOf(id));
}

/**
 * Shows who sees a case beside its owner, who adds and removes people here; others may leave it.
 *
 * @param {Server} server
 * @param {{id: string, title: string, owner_id: string}} shared the case.
 * @param {{id: string, name: string}[]} members as `membersOf` gives them.
 * @param {() => Promise<unknown>} left is called when it is no longer the user's to see.
 */
export function openSharing(server, shared, members, left) {
  const path = pathOf(shared.id);
  const isOwner = shared.owner_id === server.userId;
  const list = el("ul", { class: "rc-members" });
  const draw = (shown) =>
    list.replaceChildren(
      ...shown.map(entry),
      ...(shown.length ? [] : [el("li", { class: "rc-quiet", say: "share_nobody" })]),
    );
  const entry = ({ id, name }) => {
    const isSelf = id === server.userId;
    const remove = async () => {
      if (isSelf && !confirm(text("share_leave_sure"))) return;
      await server.remove(`${path}/${id}`);
      if (isSelf) {
        dialog.close();
        await left();
      } else {
        draw(await membersOf(server, shared));
      }
    };
    const word = isSelf ? "share_leave" : "share_end";
    const small = { class: "rc-button rc-small" };
    return el(
      "li",
      {},
      el("b", {}, name),
      isOwner || isSelf ? button(word, () => remove().catch(complain), small) : null,
    );
  };
  draw(members);
  const name = el("input", { type: "text", required: true, maxlength: "200", autocomplete: "off" });
  const add = async () => {
    const member = await server.post(path, { name: name.value.trim() }).catch((error) => {
      throw error.status === 404 ? new Error(text("share_unknown")) : error;
    });
    notify(text("share_done", { name: member.name }));
  };
  const dialog = openDialog(
    "case_share",
    [
      el("p", { class: "rc-quiet" }, shared.title),
      list,
      isOwner ? field("share_name", name) : el("p", { class: "rc-quiet", say: "share_owner" }),
    ],
    isOwner ? { save: add, saySave: "share_add" } : {},
  );
  if (isOwner) name.focus();
}

function pathOf(caseId) {
  return `api/v1/cases/${caseId}/members`;
}
