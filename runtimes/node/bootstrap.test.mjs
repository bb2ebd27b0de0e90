// The Node bootstrap against a small Runtime API on loopback, each test with a process of its own.
// Run: node --test runtimes/node

import assert from "node:assert/strict";
import http from "node:http";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";

const BOOTSTRAP = path.join(path.dirname(fileURLToPath(import.meta.url)), "bootstrap.mjs");
const PATIENCE_MS = 20_000;

/** A Runtime API and a bootstrap over these files; ended with the test. */
async function start(context, files, handler = "app.handler", program = BOOTSTRAP) {
  const calls = [];
  const posts = [];
  const waiting = { call: [], post: [] };
  let askedOnce;
  const asked = new Promise((once) => (askedOnce = once));
  const give = (queue, kind, item) => (waiting[kind].length ? waiting[kind].shift()(item) : queue.push(item));
  const server = http.createServer((request, response) => {
    if (request.method === "GET") {
      askedOnce();
      const answer = ({ id, body, headers }) => {
        response.setHeader("Lambda-Runtime-Aws-Request-Id", id);
        response.setHeader("Lambda-Runtime-Deadline-Ms", Date.now() + 5000);
        response.setHeader("Lambda-Runtime-Invoked-Function-Arn", "arn:f");
        for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
        response.end(body);
      };
      return calls.length ? answer(calls.shift()) : waiting.call.push(answer);
    }
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
      response.writeHead(202).end();
      const text = Buffer.concat(parts).toString();
      give(posts, "post", { path: request.url.replace("/2018-06-01/runtime", ""), headers: request.headers, trailers: request.trailers, text });
    });
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  const folder = mkdtempSync(path.join(tmpdir(), "bootstrap-"));
  for (const [name, source] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
    writeFileSync(path.join(folder, name), source);
  }
  const env = {
    PATH: process.env.PATH,
    AWS_LAMBDA_RUNTIME_API: `127.0.0.1:${server.address().port}`,
    LAMBDA_TASK_ROOT: folder,
    _HANDLER: handler,
    AWS_LAMBDA_FUNCTION_NAME: "f",
    AWS_LAMBDA_FUNCTION_MEMORY_SIZE: "128",
  };
  const child = spawn(process.execPath, [program], { cwd: folder, env });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (output += data));
  const exited = new Promise((done) => child.on("exit", done));
  context.after(async () => {
    child.kill("SIGKILL");
    await exited;
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true });
  });
  const soon = (promise, what) =>
    Promise.race([promise, new Promise((_, late) => setTimeout(() => late(new Error(`no ${what}: ${output}`)), PATIENCE_MS).unref())]);
  const nextPost = () => soon(posts.length ? posts.shift() : new Promise((done) => waiting.post.push(done)), "post");
  return {
    nextPost,
    exits: () => soon(exited, "exit"),
    output: () => output,
    asks: () => soon(asked, "request"),
    async invoke(event, id = "r-1", headers = {}) {
      give(calls, "call", { id, body: typeof event === "string" ? event : JSON.stringify(event), headers });
      return nextPost();
    },
  };
}

const answer = (post) => [post.path, JSON.parse(post.text)];

test("async, callback and plain handlers, one call after another", async (context) => {
  const app = `exports.handler = async (event) => ({ got: event });
    exports.callback = (event, context, done) => setTimeout(() => done(null, [event]), 5);
    exports.plain = () => 7;
    exports.nested = { deep: async () => "deep" };
    exports.nothing = async () => {};`;
  for (const [name, expected] of [["handler", { got: "é" }], ["callback", ["é"]], ["plain", 7], ["nested.deep", "deep"], ["nothing", null]]) {
    const runtime = await start(context, { "app.js": app }, `app.${name}`);
    assert.deepEqual(answer(await runtime.invoke("\"é\"")), ["/invocation/r-1/response", expected]);
    assert.deepEqual(answer(await runtime.invoke("\"é\"", "r-2")), ["/invocation/r-2/response", expected]);
  }
});

test("ES modules by their ending, by package.json, and in folders", async (context) => {
  const app = "export const handler = async (event) => event; export default { other: async () => 1 };";
  for (const [files, handler] of [
    [{ "app.mjs": app }, "app.handler"],
    [{ "app.js": app, "package.json": '{"type":"module"}' }, "app.handler"],
    [{ "src/x/app.mjs": app }, "src/x/app.handler"],
  ]) {
    const runtime = await start(context, files, handler);
    assert.deepEqual(answer(await runtime.invoke({ a: 1 }))[1], { a: 1 });
  }
});

test("the context has what Lambda gives", async (context) => {
  const runtime = await start(context, {
    "app.js": `exports.handler = async (e, c) => [c.awsRequestId, c.functionName, c.memoryLimitInMB, c.invokedFunctionArn,
      c.getRemainingTimeInMillis() > 0 && c.getRemainingTimeInMillis() <= 5000, c.clientContext.custom.k, process.env._X_AMZN_TRACE_ID]`,
  });
  const headers = { "Lambda-Runtime-Client-Context": '{"custom":{"k":"v"}}', "Lambda-Runtime-Trace-Id": "Root=1" };
  assert.deepEqual(answer(await runtime.invoke({}, "r-1", headers))[1], ["r-1", "f", "128", "arn:f", true, "v", "Root=1"]);
});

test("errors are told, and the next call is served", async (context) => {
  const runtime = await start(context, {
    "app.js": `exports.handler = async (e) => {
      if (e === "throw") throw new TypeError("no");
      if (e === "string") throw "plain";
      if (e === "big") return 1n;
      return e;
    }`,
  });
  const thrown = await runtime.invoke('"throw"');
  assert.equal(thrown.headers["lambda-runtime-function-error-type"], "TypeError");
  const [where, body] = answer(thrown);
  assert.equal(where, "/invocation/r-1/error");
  assert.deepEqual([body.errorType, body.errorMessage, body.requestId], ["TypeError", "no", "r-1"]);
  assert.match(body.stackTrace[0], /app\.js:2/);
  assert.equal(answer(await runtime.invoke('"string"'))[1].errorMessage, "plain");
  assert.equal(answer(await runtime.invoke('"big"'))[1].errorType, "TypeError");
  assert.equal(answer(await runtime.invoke("{no"))[1].errorType, "Runtime.UnmarshalError");
  assert.equal(answer(await runtime.invoke("5"))[1], 5);
  assert.match(runtime.output(), /\[ERROR\] TypeError: no RequestId: r-1/);
});

test("what is not there is an error of the initialisation", async (context) => {
  for (const [files, handler, type, message] of [
    [{}, "nope.handler", "Runtime.ImportModuleError", /Cannot find module 'nope'/],
    [{ "app.js": 'require("absent")' }, "app.handler", "Runtime.ImportModuleError", /absent/],
    [{ "app.js": "exports.x = 1" }, "app.handler", "Runtime.HandlerNotFound", /undefined or not exported/],
    [{ "app.js": "exports.handler = 1" }, "app.handler", "Runtime.HandlerNotFound", /not a function/],
    [{ "app.js": "" }, "app", "Runtime.MalformedHandlerName", /Bad handler/],
    [{ "app.js": "}" }, "app.handler", "Runtime.UserCodeSyntaxError", /Unexpected token/],
    [{ "app.js": 'throw new RangeError("early")' }, "app.handler", "RangeError", /early/],
  ]) {
    const runtime = await start(context, files, handler);
    const [where, body] = answer(await runtime.nextPost());
    assert.equal(where, "/init/error");
    assert.equal(body.errorType, type, body.errorMessage);
    assert.match(body.errorMessage, message);
    assert.notEqual(await runtime.exits(), 0);
  }
});

test("what nobody catches is told and ends the process", async (context) => {
  const runtime = await start(context, { "app.js": "exports.handler = () => new Promise(() => { setTimeout(() => { throw new Error('late') }) })" });
  const [where, body] = answer(await runtime.invoke({}));
  assert.deepEqual([where, body.errorMessage], ["/invocation/r-1/error", "late"]);
  assert.notEqual(await runtime.exits(), 0);
});

test("answers are streamed, and an error in the middle is told by trailers", async (context) => {
  const runtime = await start(context, {
    "app.js": `exports.handler = awslambda.streamifyResponse(async (event, stream) => {
      if (event === "early") throw new Error("early");
      stream.setContentType("text/plain");
      stream.write("one ");
      if (event === "late") throw new Error("late");
      stream.end("two");
    })`,
  });
  const whole = await runtime.invoke("1");
  assert.deepEqual([whole.text, whole.headers["lambda-runtime-function-response-mode"], whole.headers["content-type"]], ["one two", "streaming", "text/plain"]);
  assert.equal(answer(await runtime.invoke('"early"'))[1].errorMessage, "early");
  const late = await runtime.invoke('"late"');
  assert.equal(late.text, "one ");
  assert.equal(late.trailers["lambda-runtime-function-error-type"], "Error");
  const body = JSON.parse(Buffer.from(late.trailers["lambda-runtime-function-error-body"], "base64"));
  assert.equal(body.errorMessage, "late");
});

test("one that went on from a snapshot draws random numbers anew before its first call", async (context) => {
  const folder = mkdtempSync(path.join(tmpdir(), "bootstrap-"));
  context.after(() => rmSync(folder, { recursive: true }));
  const [program, generation] = [path.join(folder, "bootstrap.mjs"), path.join(folder, "generation")];
  const source = readFileSync(BOOTSTRAP, "utf8");
  assert.equal(source.split('"/run/hearth/generation"').length, 2);
  writeFileSync(program, source.replace("/run/hearth/generation", generation));
  const app = `const crypto = CRYPTO;
    const drawn = { loaded: [], uuids: 0, ints: 0 };
    process.dlopen = (module, file) => drawn.loaded.push(file);
    if (crypto) {
      crypto.randomUUID = () => (drawn.uuids += 1);
      crypto.randomInt = () => (drawn.ints += 1);
    }
    exports.handler = async () => drawn;`;
  const loaded = [path.join(folder, "renew.node")];
  for (const [crypto, restored, expected] of [
    ['require("crypto")', false, { loaded: [], uuids: 0, ints: 0 }],
    ['require("crypto")', true, { loaded, uuids: 128, ints: 1024 }],
    ["undefined", true, { loaded, uuids: 0, ints: 0 }],
  ]) {
    rmSync(generation, { force: true });
    const runtime = await start(context, { "app.js": app.replace("CRYPTO", crypto) }, "app.handler", program);
    await runtime.asks();
    if (restored) writeFileSync(generation, "another\n");
    assert.deepEqual(answer(await runtime.invoke({}))[1], expected);
    // From then on nobody goes on from where it is.
    writeFileSync(generation, "a third\n");
    assert.deepEqual(answer(await runtime.invoke({}, "r-2"))[1], expected);
  }
});
