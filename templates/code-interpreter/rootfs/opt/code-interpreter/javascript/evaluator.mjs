// The thread that drives the one cells run in. Takes orders from the server by lines of JSON, one cell at a time.
//
//   idle ──execute──► evaluating ──value──► showing ──► done, idle
//                         └─────error, interrupt──────────┘

import { once } from "node:events";
import { Session } from "node:inspector";
import net from "node:net";
import { createInterface } from "node:readline";
import { parentPort, workerData } from "node:worker_threads";

import { rewriteImports } from "./modules.mjs";

// Before this, the code runs within the inspector's dispatch of the order to run it, where no other order is heard of.
const LEAVE_DISPATCH = "await void 0;";
const session = new Session();
session.connectToMainThread();
const server = new net.Socket({ fd: workerData.socket, readable: true, writable: true });
let host, interrupted;

function say({ size, ...message }) {
  server.write(`${JSON.stringify(message)}\n`, () => {
    if (!size) return;
    Atomics.sub(workerData.held, 0, size);
    Atomics.notify(workerData.held, 0);
  });
}

function post(method, parameters) {
  return new Promise((resolve, reject) => {
    session.post(method, parameters, (error, answer) => (error ? reject(new Error(error.message)) : resolve(answer)));
  });
}

/** Calls one of the host's methods with values of this thread, or of that one. */
function callHost(method, ...values) {
  return post("Runtime.callFunctionOn", {
    objectId: host,
    functionDeclaration: `function (...values) { return this.${method}(...values); }`,
    arguments: values.map(argument),
  });
}

function argument(value) {
  if (typeof value === "string") return { value };
  if (value.objectId) return { objectId: value.objectId };
  if ("unserializableValue" in value) return { unserializableValue: value.unserializableValue };
  return "value" in value ? { value: value.value } : {};
}

/** A fault of the cell, as the inspector describes it. */
class Thrown extends Error {
  constructor(details) {
    super(details.text);
    this.details = details;
  }
}

const valueOf = (answer) => {
  if (answer.exceptionDetails) throw new Thrown(answer.exceptionDetails);
  return answer.result;
};

async function compile({ code, types }) {
  if (!types) return rewriteImports(code);
  const { transform } = await import("sucrase");
  const options = { transforms: ["typescript"], disableESTransforms: true, keepUnusedImports: true };
  return rewriteImports(transform(code, options).code);
}

async function evaluate(order) {
  const source = `${LEAVE_DISPATCH}${await compile(order)}\n//# sourceURL=cell-${order.count}.${order.types ? "ts" : "js"}`;
  const value = valueOf(await post("Runtime.evaluate", { expression: source, replMode: true, awaitPromise: true, objectGroup: "cell" }));
  if (value.subtype !== "promise") return value;
  return valueOf(await post("Runtime.awaitPromise", { promiseObjectId: value.objectId }));
}

async function execute(order) {
  interrupted = resolvers();
  try {
    valueOf(await callHost("prepare", JSON.stringify(order.sandbox_env), JSON.stringify(order.env)));
    const value = await Promise.race([evaluate(order), interrupted.promise]);
    valueOf(await Promise.race([callHost("show", value), interrupted.promise]));
  } catch (error) {
    await tellOf(error).catch((another) => say({ say: "error", name: another.name, value: another.message, traceback: "" }));
  }
  interrupted = undefined;
  await callHost("restore");
  await post("Runtime.releaseObjectGroup", { objectGroup: "cell" });
  // By the way of what was shown, after which it comes.
  await callHost("done");
}

function resolvers() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  made.promise.catch(() => {});
  return made;
}

async function tellOf(error) {
  const details = error instanceof Thrown ? error.details : undefined;
  if (!details?.exception) {
    // No fault that the cell has a stack for: an interrupt, or types that cannot be stripped.
    const name = error.interrupted ? "Interrupted" : error.name;
    const value = details?.text ?? error.message;
    say({ say: "error", name, value, traceback: `${name}: ${value}` });
    return;
  }
  const at = `cell:${details.lineNumber + 1}:${details.columnNumber + 1}`;
  await callHost("showError", details.exception, `${details.text} (${at})`);
}

/** Ends the code that runs, and gives up what it waits for. Nothing else may be run there before the end was told of. */
async function interrupt() {
  const cell = interrupted;
  if (!cell) return;
  await post("Runtime.terminateExecution").catch(() => {});
  cell.reject(Object.assign(new Error("the code was interrupted"), { interrupted: true }));
}

function disconnect(done) {
  session.disconnect();
  Atomics.store(done, 0, 1);
  Atomics.notify(done, 0);
}

async function main() {
  parentPort.on("message", (message) => (message instanceof Int32Array ? disconnect(message) : say(message)));
  const { result } = await post("Runtime.evaluate", { expression: "globalThis.__hearth_host" });
  host = result.objectId;
  await post("Runtime.evaluate", { expression: "delete globalThis.__hearth_host" });
  say({ say: "ready" });
  let running = Promise.resolve();
  createInterface({ input: server, crlfDelay: Infinity }).on("line", (line) => {
    const order = JSON.parse(line);
    if (order.do === "interrupt") interrupt();
    else running = running.then(() => execute(order));
  });
  await once(server, "close");
  process.exit();
}

server.on("error", () => {});
await main();
