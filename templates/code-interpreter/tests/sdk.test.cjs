// The JavaScript SDK against the server that test_javascript_sdk.py has started. SDK_PACKAGES: where it is installed.

const assert = require("node:assert/strict");
const { createRequire } = require("node:module");
const test = require("node:test");

const { Sandbox, NotFoundError, SandboxError, TimeoutError } = createRequire(`${process.env.SDK_PACKAGES}/x.js`)("@e2b/code-interpreter");
const sandbox = new Sandbox({
  sandboxId: "tested",
  envdVersion: "0.6.3",
  envdAccessToken: process.env.TOKEN,
  apiKey: `e2b_${"0".repeat(40)}`,
  sandboxUrl: process.env.SERVER,
});

test("cells keep their state, and print", async () => {
  const out = [];
  const first = await sandbox.runCode("x = 20\nprint('made')", { onStdout: (message) => out.push(message.line) });
  assert.deepEqual([first.logs.stdout, out, first.error], [["made\n"], ["made\n"], undefined]);
  const second = await sandbox.runCode("x + 1");
  assert.equal(second.text, "21");
  assert.equal(second.executionCount, first.executionCount + 1);
});

test("results have their formats", async () => {
  const plotting = "import pandas, matplotlib.pyplot as plt\nplt.bar(['a', 'b'], [1, float('nan')])\nplt.show()\n";
  const code = `${plotting}pandas.DataFrame({'n': [1.5, None]})`;
  const { results, error } = await sandbox.runCode(code);
  assert.equal(error, undefined);
  const [plot, table] = results;
  assert.ok(plot.png.length > 100 && !plot.isMainResult);
  assert.equal(plot.chart.type, "bar");
  assert.deepEqual(plot.chart.elements.map((element) => element.label), ["a", "b"]);
  assert.deepEqual(table.data, { n: [1.5, null] });
  assert.ok(table.isMainResult && table.html.includes("<table") && table.formats().includes("data"));
  assert.deepEqual(table.extra, {});
});

test("errors have name, value and traceback", async () => {
  const { error } = await sandbox.runCode("undefined_name");
  assert.equal(error.name, "NameError");
  assert.match(error.value, /undefined_name/);
  assert.match(error.traceback, /NameError/);
});

test("all languages", async () => {
  assert.equal((await sandbox.runCode("const a = await Promise.resolve(2); a * 2", { language: "js" })).text, "4");
  assert.equal((await sandbox.runCode("const b: number = 3; b", { language: "ts" })).text, "3");
  assert.deepEqual((await sandbox.runCode("echo hi", { language: "bash" })).logs.stdout, ["hi\n"]);
  await assert.rejects(sandbox.runCode("1", { language: "r" }), (error) => error instanceof SandboxError && /400/.test(error.message));
});

test("variables of one execution", async () => {
  const code = "import os; os.environ.get('MINE')";
  assert.equal((await sandbox.runCode(code, { envs: { MINE: "value" } })).text, "value");
  assert.equal((await sandbox.runCode(code)).text, undefined);
});

test("contexts", async () => {
  const context = await sandbox.createCodeContext({ language: "javascript", cwd: "/tmp" });
  assert.deepEqual([context.language, context.cwd], ["javascript", "/tmp"]);
  assert.equal((await sandbox.runCode("var kept = 1; process.cwd()", { context })).text, "/tmp");
  assert.ok((await sandbox.listCodeContexts()).some(({ id }) => id === context.id));
  await sandbox.restartCodeContext(context);
  assert.equal((await sandbox.runCode("typeof kept", { context })).text, "undefined");
  await sandbox.removeCodeContext(context);
  await assert.rejects(sandbox.runCode("1", { context }), NotFoundError);
  await assert.rejects(sandbox.removeCodeContext("absent"), NotFoundError);
});

test("a time-out interrupts and keeps the state", async () => {
  const context = await sandbox.createCodeContext();
  await sandbox.runCode("kept = 7", { context });
  await assert.rejects(sandbox.runCode("while True: pass", { context, timeoutMs: 1000 }), TimeoutError);
  assert.equal((await sandbox.runCode("kept", { context, timeoutMs: 30000 })).text, "7");
  await sandbox.removeCodeContext(context);
});

test("texts of all alphabets", async () => {
  // The SDK decodes each piece of the answer by itself, so these must arrive as ASCII.
  const text = "Größe 大きさ 🔥".repeat(20000);
  assert.equal((await sandbox.runCode("'Größe 大きさ 🔥' * 20000")).text, text);
  const { logs } = await sandbox.runCode("console.log('大'.repeat(200000))", { language: "js" });
  assert.equal(logs.stdout.join(""), `${"大".repeat(200000)}\n`);
});
