// A sandbox for the tests. By default it is created through the API that the SDK's own variables name (`E2B_API_URL` and so
// on). With `HEARTH_AGENT_URL` and `HEARTH_AGENT_TOKEN` the tests talk to one agent directly.
import { randomUUID } from 'node:crypto'
import { Sandbox } from 'e2b'
import { test as base } from 'vitest'

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
