// Runs a Node function: asks the Runtime API for calls, gives them to the handler, posts what it answers.
//
// Handlers: async ones, ones with a callback, and `awslambda.streamifyResponse`; from CommonJS and from ES modules.

import http from "node:http";
import path from "node:path";
import { createRequire } from "node:module";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";
import { Writable } from "node:stream";

const API = "/2018-06-01/runtime";
// Has another value once the machine went on from a snapshot.
const GENERATION = "/run/hearth/generation";
const BODY_MAX_BYTES = 64 << 20;
// What separates the status and headers of a streamed HTTP answer from its body.
const PRELUDE_END = Buffer.alloc(8);
// Beside this file: a module that seeds OpenSSL's generator anew.
const RENEW = fileURLToPath(new URL("renew.node", import.meta.url));
const STREAMING = Symbol.for("hearth.streaming");

const [, host, port] = /^\[?(.*?)\]?(?::(\d+))?$/.exec(process.env.AWS_LAMBDA_RUNTIME_API ?? "");
const agent = new http.Agent({ keepAlive: true, maxSockets: 2 });

/** What the runtime, not the handler, has to say. Its type is Lambda's. */
class Fault extends Error {
  constructor(type, message, cause) {
    super(message);
    this.name = type;
    if (cause?.stack) this.stack = cause.stack;
  }
}

function open(method, where, headers, answered, failed) {
  // No deadline: the next call may be hours away.
  const request = http.request({ host, port: port ?? 80, method, path: API + where, headers, agent });
  request.on("error", failed);
  request.on("response", (response) => {
    const parts = [];
    let size = 0;
    response.on("data", (part) => {
      size += part.length;
      if (size > BODY_MAX_BYTES) response.destroy(new Error("the Runtime API's answer is too large"));
      else parts.push(part);
    });
    response.on("error", failed);
    response.on("end", () => answered({ status: response.statusCode, headers: response.headers, body: Buffer.concat(parts) }));
  });
  return request;
}

function call(method, where, body, headers = {}) {
  return new Promise((answered, failed) => {
    const length = body === undefined ? {} : { "Content-Length": Buffer.byteLength(body), "Content-Type": "application/json" };
    open(method, where, { ...headers, ...length }, answered, failed).end(body);
  });
}

/** A streamed answer. Nothing is sent before the first byte, so that an error before it is told as one. */
class ResponseStream extends Writable {
  constructor(requestId) {
    super({ highWaterMark: 64 << 10 });
    this.requestId = requestId;
    this.contentType = "application/octet-stream";
    this.posted = new Promise((answered, failed) => ([this.answered, this.failed] = [answered, failed]));
    this.posted.catch(() => {});
  }

  setContentType(type) {
    this.contentType = type;
  }

  begin() {
    if (this.request) return;
    const headers = {
      "Lambda-Runtime-Function-Response-Mode": "streaming",
      "Content-Type": this.contentType,
      "Transfer-Encoding": "chunked",
      Trailer: "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body",
    };
    this.request = open("POST", `/invocation/${this.requestId}/response`, headers, this.answered, this.failed);
  }

  _write(chunk, encoding, done) {
    this.begin();
    this.request.write(chunk, encoding, done);
  }

  _final(done) {
    this.begin();
    this.request.end();
    done();
  }

  /** Ends it in the middle: what came is what came, and the trailers tell why. */
  fail(error) {
    const body = describe(error, this.requestId);
    this.request.addTrailers({
      "Lambda-Runtime-Function-Error-Type": headerSafe(body.errorType),
      "Lambda-Runtime-Function-Error-Body": Buffer.from(JSON.stringify(body)).toString("base64"),
    });
    this.request.end();
  }
}

globalThis.awslambda = {
  streamifyResponse(handler) {
    handler[STREAMING] = true;
    return handler;
  },
  HttpResponseStream: {
    from(stream, prelude) {
      stream.setContentType("application/vnd.awslambda.http-integration-response");
      stream.write(JSON.stringify(prelude));
      stream.write(PRELUDE_END);
      return stream;
    },
  },
};

/** The function that `folder/module.function` names. */
async function findHandler(name, root) {
  const [, folder, module, names] = /^(.*\/)?([^/.]+)\.([^/]+)$/.exec(name) ?? [];
  if (!module || name.split("/").includes("..")) throw new Fault("Runtime.MalformedHandlerName", `Bad handler '${name}': it is not of the form module.function`);
  const loaded = await load(path.resolve(root, folder ?? "", module), `${folder ?? ""}${module}`);
  let [found, owner] = [loaded, undefined];
  for (const part of names.split(".")) [found, owner] = [found?.[part], found];
  if (found === undefined && loaded.default) {
    [found, owner] = [loaded.default, undefined];
    for (const part of names.split(".")) [found, owner] = [found?.[part], found];
  }
  if (found === undefined) throw new Fault("Runtime.HandlerNotFound", `${name} is undefined or not exported`);
  if (typeof found !== "function") throw new Fault("Runtime.HandlerNotFound", `${name} is not a function`);
  return { handler: found, owner };
}

async function load(base, shown) {
  try {
    for (const ending of [".js", ".mjs", ".cjs", ""]) {
      if (!existsSync(base + ending)) continue;
      if (ending === ".mjs") return await import(pathToFileURL(base + ending));
      const require = createRequire(base);
      try {
        return require(base + ending);
      } catch (error) {
        if (error.code !== "ERR_REQUIRE_ESM" && error.code !== "ERR_REQUIRE_ASYNC_MODULE") throw error;
        return await import(pathToFileURL(base + ending));
      }
    }
  } catch (error) {
    if (error instanceof SyntaxError) throw new Fault("Runtime.UserCodeSyntaxError", `SyntaxError: ${error.message}`, error);
    if (error?.code === "MODULE_NOT_FOUND" || error?.code === "ERR_MODULE_NOT_FOUND") throw new Fault("Runtime.ImportModuleError", `Error: ${error.message}`, error);
    throw error;
  }
  throw new Fault("Runtime.ImportModuleError", `Error: Cannot find module '${shown}'`);
}

function describe(error, requestId) {
  let [type, message, stack] = [typeof error, String(error), ""];
  try {
    if (error instanceof Error || error?.stack) [type, message, stack] = [error.name ?? "Error", error.message, error.stack ?? ""];
  } catch {
    // The handler's own getters may throw as well.
  }
  const trace = String(stack).split("\n").slice(1).map((line) => line.trim());
  return { errorType: String(type), errorMessage: String(message), requestId, stackTrace: trace };
}

const headerSafe = (text) => text.replace(/[^\x20-\x7e]/g, "?").slice(0, 256);

async function postError(where, error, requestId = "") {
  const body = describe(error, requestId);
  const lines = body.stackTrace.map((line) => `    ${line}`);
  process.stdout.write([`[ERROR] ${body.errorType}: ${body.errorMessage}${requestId && ` RequestId: ${requestId}`}`, ...lines, ""].join("\n"));
  await call("POST", where, JSON.stringify(body), { "Lambda-Runtime-Function-Error-Type": headerSafe(body.errorType) });
}

function contextOf(headers) {
  const env = process.env;
  const deadline = Number(headers["lambda-runtime-deadline-ms"] ?? 0);
  const parsed = (name) => (headers[name] ? JSON.parse(headers[name]) : undefined);
  return {
    awsRequestId: headers["lambda-runtime-aws-request-id"],
    invokedFunctionArn: headers["lambda-runtime-invoked-function-arn"],
    clientContext: parsed("lambda-runtime-client-context"),
    identity: parsed("lambda-runtime-cognito-identity"),
    functionName: env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
    callbackWaitsForEmptyEventLoop: true,
    getRemainingTimeInMillis: () => Math.max(deadline - Date.now(), 0),
  };
}

/** What the handler answers, however it does. */
function answerOf({ handler, owner }, event, context) {
  let atRest;
  const answered = new Promise((answer, fail) => {
    let value = null;
    const callback = (error, given) => {
      if (error !== undefined && error !== null) return fail(error);
      value = given;
      // By default, what the handler began goes on before the answer is sent.
      if (!context.callbackWaitsForEmptyEventLoop) answer(value);
    };
    // One that ends without its callback answers nothing.
    atRest = () => answer(value);
    context.done = callback;
    context.succeed = answer;
    context.fail = (error) => fail(error ?? new Error("failed"));
    const given = handler.call(owner, event, context, callback);
    if (typeof given?.then === "function") return given.then(answer, fail);
    // One that takes no callback and gives no promise has answered.
    if (handler.length < 3) return answer(given);
    process.once("beforeExit", atRest);
  });
  return answered.finally(() => process.removeListener("beforeExit", atRest));
}

async function respond(found, requestId, event, context) {
  let body;
  try {
    body = JSON.stringify((await answerOf(found, event, context)) ?? null);
    if (body === undefined) throw new TypeError("a function is no answer");
  } catch (error) {
    return postError(`/invocation/${requestId}/error`, error, requestId);
  }
  const { status, body: said } = await call("POST", `/invocation/${requestId}/response`, body);
  if (status >= 400) console.log(`[ERROR] the answer of ${body.length} bytes was refused with ${status}: ${said}`);
}

async function stream({ handler, owner }, requestId, event, context) {
  const response = new ResponseStream(requestId);
  const broken = new Promise((_, failed) => response.on("error", failed));
  try {
    await Promise.race([handler.call(owner, event, response, context), broken]);
  } catch (error) {
    if (!response.request) return postError(`/invocation/${requestId}/error`, error, requestId);
    response.fail(error);
    return response.posted;
  }
  if (!response.writableEnded) response.end();
  await response.posted;
}

/** Which of those that went on from one snapshot this is. */
function generation() {
  try {
    return readFileSync(GENERATION, "latin1");
  } catch {
    return "";
  }
}

/** Has what draws random numbers for keys in this process's memory differ from all others that went on from the same snapshot. */
function drawAnew(was) {
  if (generation() === was) return;
  process.dlopen({ exports: {} }, RENEW);
  if (!process.moduleLoadList.includes("NativeModule internal/crypto/random")) return;
  // Node draws so many ahead.
  const { randomInt, randomUUID } = createRequire(import.meta.url)("node:crypto");
  for (let drawn = 0; drawn < 128; drawn += 1) randomUUID();
  for (let drawn = 0; drawn < 1024; drawn += 1) randomInt(2);
}

async function serve(found) {
  let was = generation();
  for (;;) {
    const { status, headers, body } = await call("GET", "/invocation/next");
    if (status !== 200) throw new Error(`the Runtime API answered ${status} to the request for the next call`);
    // A snapshot that others go on from is made before the first call.
    if (was !== undefined) drawAnew(was);
    was = undefined;
    const requestId = headers["lambda-runtime-aws-request-id"];
    if (headers["lambda-runtime-trace-id"]) process.env._X_AMZN_TRACE_ID = headers["lambda-runtime-trace-id"];
    serving = requestId;
    let event;
    try {
      event = JSON.parse(body);
    } catch (error) {
      await postError(`/invocation/${requestId}/error`, new Fault("Runtime.UnmarshalError", `Unable to unmarshal input: ${error.message}`), requestId);
      continue;
    }
    if (found.handler[STREAMING]) await stream(found, requestId, event, contextOf(headers));
    else await respond(found, requestId, event, contextOf(headers));
  }
}

// What nobody caught ends the process, as Lambda does it, once the call is told of.
let serving;
async function die(kind, error) {
  try {
    const fault = new Fault(kind, error instanceof Error ? `${error.name}: ${error.message}` : String(error), error);
    await postError(serving ? `/invocation/${serving}/error` : "/init/error", kind === "Runtime.UnhandledPromiseRejection" ? fault : error, serving);
  } finally {
    process.exit(129);
  }
}
process.on("uncaughtException", (error) => die("Runtime.UncaughtException", error));
process.on("unhandledRejection", (error) => die("Runtime.UnhandledPromiseRejection", error));

let found;
try {
  found = await findHandler(process.env._HANDLER ?? "", process.env.LAMBDA_TASK_ROOT ?? "/var/task");
} catch (error) {
  await postError("/init/error", error);
  process.exit(1);
}
await serve(found);
