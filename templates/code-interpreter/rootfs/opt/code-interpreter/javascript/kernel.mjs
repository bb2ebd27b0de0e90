// The JavaScript kernel. Cells run in this thread, as they would in a REPL; a second thread (evaluator.mjs) drives it by V8's
// inspector, whose REPL mode keeps what cells declare, awaits at the top level, and can end code that never yields.
//
//   server ──lines of JSON──► evaluator ──inspector──► this thread: cells, `display`
//                                 ▲                         │
//                                 └───────── port ──────────┘

import { createRequire } from "node:module";
import fs from "node:fs";
import { Writable } from "node:stream";
import { Worker } from "node:worker_threads";

import { createImporter } from "./modules.mjs";
import { renewIfRestored } from "./renew.mjs";
import { bundleOf } from "./show.mjs";

const DISCONNECT_TIMEOUT_MS = 500;

/** Writes at once and waits where the reader is slow: what is printed is never held in memory, and never lost. */
function blockingStream(fd) {
  const stream = new Writable({
    decodeStrings: true,
    write(chunk, _encoding, done) {
      try {
        for (let at = 0; at < chunk.length; ) at += writeSome(fd, chunk, at);
        done();
      } catch (error) {
        done(error);
      }
    },
  });
  stream.fd = fd;
  return stream;
}

function writeSome(fd, chunk, at) {
  try {
    return fs.writeSync(fd, chunk, at);
  } catch (error) {
    // A child may have made the pipe non-blocking, for it is shared.
    if (error.code !== "EAGAIN") throw error;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    return 0;
  }
}

function replaceStreams() {
  for (const [name, fd] of [["stdout", 1], ["stderr", 2]]) {
    const stream = blockingStream(fd);
    Object.defineProperty(process, name, { configurable: true, enumerable: true, get: () => stream });
  }
}

/** What the evaluator calls here. Cells do not see it. */
function createHost(port) {
  let kept = {};
  const show = (value, isMain) => port.postMessage({ say: "show", bundle: bundleOf(value), is_main: isMain });
  globalThis.display = (...values) => values.forEach((value) => show(value, false));
  return {
    prepare(sandboxEnv, env) {
      renewIfRestored();
      Object.assign(process.env, JSON.parse(sandboxEnv));
      const given = JSON.parse(env);
      kept = Object.fromEntries(Object.keys(given).map((name) => [name, process.env[name]]));
      Object.assign(process.env, given);
    },
    restore() {
      for (const [name, value] of Object.entries(kept)) {
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
      }
      kept = {};
    },
    show(value) {
      if (value !== undefined) show(value, true);
    },
    showError(error, fallback) {
      const isError = error instanceof Error || (error !== null && typeof error === "object" && "stack" in error);
      port.postMessage({
        say: "error",
        name: isError ? String(error.name) : typeof error,
        value: isError ? String(error.message) : String(error),
        traceback: isError ? String(error.stack) : fallback,
      });
    },
    done: () => port.postMessage({ say: "done" }),
  };
}

/** Ends the inspector's session, for which the process would wait and say so. */
function disconnect(worker) {
  const done = new Int32Array(new SharedArrayBuffer(4));
  worker.postMessage(done);
  Atomics.wait(done, 0, 0, DISCONNECT_TIMEOUT_MS);
}

function main() {
  const socket = Number(process.env.HEARTH_KERNEL_FD);
  delete process.env.HEARTH_KERNEL_FD;
  replaceStreams();
  const importer = createImporter();
  Object.defineProperty(globalThis, "__hearth_import", { value: importer });
  globalThis.require = createRequire(`${process.cwd()}/cell.js`);
  // An interrupt is for what runs in the foreground; the evaluator ends the cell.
  process.on("SIGINT", () => {});
  for (const event of ["uncaughtException", "unhandledRejection"]) {
    process.on(event, (error) => process.stderr.write(`Uncaught ${error?.stack ?? String(error)}\n`));
  }
  const worker = new Worker(new URL("evaluator.mjs", import.meta.url), { workerData: { socket }, stdout: false, stderr: false });
  globalThis.__hearth_host = createHost(worker);
  worker.on("error", (error) => {
    process.stderr.write(`the JavaScript kernel failed: ${error.stack}\n`);
    process.exit(70);
  });
  // The server is gone.
  worker.on("exit", () => process.exit(0));
  process.on("exit", () => disconnect(worker));
}

main();
