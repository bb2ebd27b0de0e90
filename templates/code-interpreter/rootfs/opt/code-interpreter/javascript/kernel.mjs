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
import { bundleOf, sizeOf } from "./show.mjs";

const DISCONNECT_TIMEOUT_MS = 500;
// Of what is shown and not sent yet; a single thing may be larger.
const HELD_MAX_CHARS = 2 << 20;
const LOOK_AGAIN_MS = 100;

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

/**
 * Shows no faster than the server takes it. `held` is shared with the evaluator, which takes off what was sent. An interrupt between the two
 * steps here leaves it uncounted; each cell begins to count anew.
 */
function showing(port, held) {
  return (value, isMain) => {
    const bundle = bundleOf(value);
    const size = sizeOf(bundle);
    for (let now; (now = Atomics.load(held, 0)) > HELD_MAX_CHARS; ) Atomics.wait(held, 0, now, LOOK_AGAIN_MS);
    port.postMessage({ say: "show", bundle, is_main: isMain, size });
    Atomics.add(held, 0, size);
  };
}

/** What the evaluator calls here. Cells do not see it. */
function createHost(port, held) {
  let kept = {};
  const show = showing(port, held);
  globalThis.display = (...values) => values.forEach((value) => show(value, false));
  return {
    prepare(sandboxEnv, env) {
      renewIfRestored();
      Atomics.store(held, 0, 0);
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
  const held = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(new URL("evaluator.mjs", import.meta.url), { workerData: { socket, held }, stdout: false, stderr: false });
  globalThis.__hearth_host = createHost(worker, held);
  worker.on("error", (error) => {
    process.stderr.write(`the JavaScript kernel failed: ${error.stack}\n`);
    process.exit(70);
  });
  // The server is gone.
  worker.on("exit", () => process.exit(0));
  process.on("exit", () => disconnect(worker));
}

main();
