// Random numbers that differ between all that go on from one snapshot.

import crypto from "node:crypto";
import fs from "node:fs";
import { createRequire } from "node:module";

const GENERATION = process.env.HEARTH_GENERATION_FILE ?? "/run/hearth/generation";
// Seeds OpenSSL's generator anew as it is loaded; where the image has it.
const RENEW = new URL("renew.node", import.meta.url);

let last = read();

function read() {
  try {
    return fs.readFileSync(GENERATION, "latin1").slice(0, 64);
  } catch {
    return "";
  }
}

/** To be called before a cell. */
export function renewIfRestored() {
  const now = read();
  if (now === last) return;
  last = now;
  if (fs.existsSync(RENEW)) createRequire(import.meta.url)(RENEW.pathname);
  // V8's own generator cannot be seeded.
  Math.random = () => crypto.randomBytes(6).readUIntBE(0, 6) / 2 ** 48;
}
