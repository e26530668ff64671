import assert from "node:assert/strict";
import test from "node:test";

globalThis.document = {
  baseURI: "http://rui.example/assets/web/ruichat.js",
  documentElement: {},
  querySelectorAll: () => [],
};
const { Server } = await import("../src/server.js");
const { setLanguage } = await import("../src/language.js");
const { errorWords } = await import("../src/notices.js");

const answer = (body, status = 200) => new Response(JSON.stringify(body), { status });

/** A server that takes writes with the token of the login at hand; what it is asked. */
function serve(login) {
  const asked = [];
  globalThis.fetch = async ({ pathname }, { method, headers }) => {
    asked.push(`${method} ${pathname}`);
    if (pathname === "/api/v1/me") return answer({ id: login.id, csrf_token: login.csrf });
    if (headers["X-CSRF-Token"] === login.csrf && !login.isReader) return answer("done");
    return answer({ error: { message: "no" } }, 403);
  };
  return asked;
}

test("a write goes on after the same person's login in another tab", async () => {
  const login = { id: "li", csrf: "old" };
  const asked = serve(login);
  const server = new Server();
  await server.me();
  login.csrf = "new";
  assert.deepEqual(await Promise.all([server.post("logout"), server.post("logout")]), ["done", "done"]);
  assert.equal(asked.filter((one) => one === "POST /logout").length, 4);
  assert.equal(await server.post("logout"), "done");
  assert.equal(asked.at(-2), "POST /logout");
});

test("a write that somebody may not do is sent once", async () => {
  const asked = serve({ id: "li", csrf: "old", isReader: true });
  const server = new Server();
  await server.me();
  await assert.rejects(server.post("api/v1/cases"), { status: 403, message: "no" });
  assert.equal(asked.filter((one) => one.startsWith("POST")).length, 1);
});

test("nothing is written for somebody else who has logged in since: they get the page anew", async () => {
  const login = { id: "li", csrf: "old" };
  const asked = serve(login);
  const server = new Server();
  await server.me();
  Object.assign(login, { id: "wang", csrf: "new" });
  await new Promise((resolve) => {
    globalThis.location = { reload: resolve };
    server.post("api/v1/cases").then(() => assert.fail("sent for somebody else"));
  });
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(asked.slice(1), ["POST /api/v1/cases", "GET /api/v1/me"]);
  assert.equal(server.userId, "li");
});

test("what a proxy answers is said in words, once", async () => {
  const said = async (status) => {
    globalThis.fetch = async () => new Response("<h1>nginx</h1>", { status });
    return errorWords(await new Server().get("api/v1/cases").catch((error) => error));
  };
  for (const status of [502, 504]) assert.match((await said(status)).message, /can't be reached/);
  assert.match((await said(413)).message, /larger than/);
  assert.match((await said(418)).message, /HTTP 418/);
  setLanguage("zh");
  assert.deepEqual(await said(413), { message: "内容超过服务器允许的大小", hint: "" });
  assert.match((await said(504)).message, /无法连接/);
});
