// Values as MIME bundles.

import { inspect } from "node:util";

// A value can say itself what it looks like, by the convention of Jupyter's kernels for JavaScript.
const DISPLAY = Symbol.for("Jupyter.display");
const SHOWN_MAX_CHARS = 64 << 20;

/** All representations of the value; at least a text. */
export function bundleOf(value) {
  const own = ownBundle(value);
  const bundle = own ?? { "text/plain": typeof value === "string" ? value : inspect(value, { depth: 4 }) };
  const size = sizeOf(bundle);
  if (size > SHOWN_MAX_CHARS) {
    throw new RangeError(`what is to be shown has ${size} characters, and at most ${SHOWN_MAX_CHARS} can be: show a part of it`);
  }
  return bundle;
}

/** About how many characters a bundle has. */
export function sizeOf(bundle) {
  return Object.values(bundle).reduce((sum, part) => sum + (typeof part === "string" ? part.length : JSON.stringify(part)?.length ?? 0), 100);
}

function ownBundle(value) {
  if (value === null || (typeof value !== "object" && typeof value !== "function")) return undefined;
  if (typeof value[DISPLAY] !== "function") return undefined;
  const bundle = value[DISPLAY]();
  if (bundle === null || typeof bundle !== "object") return undefined;
  // Has to go through a port and JSON.
  return JSON.parse(JSON.stringify(bundle));
}
