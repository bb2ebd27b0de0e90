// What tests share. `// covers:` before a test names the methods that it is about, for scripts/e2b-compatibility; `// differs:` and
// `// not offered:` after it say how Hearth's answer differs, or what is answered instead.
//
// A sandbox for the tests. By default it is created through the API that the SDK's own variables name (`E2B_API_URL` and so
// on). With `HEARTH_AGENT_URL` and `HEARTH_AGENT_TOKEN` the tests talk to one agent directly.
import { randomUUID } from 'node:crypto'
import { Sandbox } from 'e2b'
import { afterAll, beforeAll, onTestFinished, test as base } from 'vitest'

const LIMIT_MS = 30_000
const direct = process.env.HEARTH_AGENT_URL

async function make() {
  if (!direct) return Sandbox.create()
  return new Sandbox({
    sandboxId: 'agent',
    envdVersion: '0.6.4',
    envdAccessToken: process.env.HEARTH_AGENT_TOKEN,
    sandboxUrl: direct,
  })
}

export const test = base.extend({
  sandbox: [
    async ({}, use) => {
      const sandbox = await make()
      await use(sandbox)
      if (!direct) await sandbox.kill()
    },
    { scope: 'file' },
  ],
  folder: async ({ sandbox }, use) => {
    const path = `/tmp/sdk-${randomUUID()}`
    await sandbox.files.makeDir(path)
    await use(path)
    await sandbox.files.remove(path)
  },
})

export async function waitUntil(holds, what = 'it') {
  const deadline = Date.now() + LIMIT_MS
  for (;;) {
    const found = await holds()
    if (found) return found
    if (Date.now() > deadline) throw new Error(`${what} did not happen within ${LIMIT_MS} ms`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

// A sandbox for all tests of a file. Gives how to get it.
export function sharedSandbox(Class = Sandbox, options = {}) {
  let sandbox
  beforeAll(async () => {
    sandbox = await Class.create({ timeoutMs: 900_000, ...options })
  })
  afterAll(() => sandbox?.kill())
  return () => sandbox
}

export async function create(...args) {
  const options = { timeoutMs: 300_000, ...(typeof args.at(-1) === 'object' ? args.pop() : {}) }
  const sandbox = await Sandbox.create(...args, options)
  onTestFinished(() => sandbox.kill())
  return sandbox
}

export const uniqueName = () => `sdk-js-${randomUUID().slice(0, 12)}`

// Everything of all pages.
export async function all(paginator) {
  const found = []
  while (paginator.hasNext) found.push(...(await paginator.nextItems()))
  return found
}

// Forgets a template by its name once the test is over, for which the SDK has no method.
export function forgetTemplate(name) {
  onTestFinished(async () => {
    const answer = await fetch(`${process.env.E2B_API_URL}/templates/${name}`, { method: 'DELETE', headers: { 'X-API-KEY': process.env.E2B_API_KEY } })
    if (answer.status !== 204) throw new Error(`forgetting ${name}: ${answer.status}`)
  })
}
