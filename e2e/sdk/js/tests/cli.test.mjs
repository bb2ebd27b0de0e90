// E2B's command line, `@e2b/cli`, which speaks to the older calls as well.
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import { Sandbox, Template } from 'e2b'
import { uniqueName, waitUntil } from './fixture.mjs'

const manifest = createRequire(import.meta.url).resolve('@e2b/cli/package.json')
const program = join(dirname(manifest), 'dist/index.js')

function newFolder() {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-sdk-cli-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  return folder
}

// What a command writes, in a folder and with a home of its own: it keeps settings there.
async function e2b(folder, ...args) {
  const running = promisify(execFile)(process.execPath, [program, ...args], { cwd: folder, timeout: 60_000, env: { ...process.env, HOME: folder } })
  running.child.stdin.end()
  const { stdout, stderr } = await running
  return stdout + stderr
}

test('a sandbox’s life', async () => {
  const folder = newFolder()
  const run = (...args) => e2b(folder, 'sandbox', ...args)
  const said = await run('create', '--detach', '--timeout', '300', 'base')
  const [id] = said.match(/sbx[0-9a-z]{20,}/)
  onTestFinished(() => Sandbox.kill(id))
  expect((await run('list', '--format', 'json'))).toContain(id)
  expect(await run('info', id)).toContain('base')
  expect(await run('exec', id, 'echo here; whoami')).toContain('here\nuser\n')
  await run('pause', id)
  expect((await Sandbox.getInfo(id)).state).toBe('paused')
  await run('resume', id)
  expect((await Sandbox.getInfo(id)).state).toBe('running')
  await waitUntil(async () => (await run('metrics', id)).includes('CPU'), 'a measurement')
  await run('logs', id)
  await run('kill', id)
  expect(await Sandbox.kill(id)).toBe(false)
})

test('a template’s life', async () => {
  const [folder, name] = [newFolder(), uniqueName()]
  writeFileSync(join(folder, 'e2b.Dockerfile'), 'FROM hearth/template-base\nRUN echo made > /tmp/made\n')
  const run = (...args) => e2b(folder, 'template', ...args)
  await run('create', name, '--cpu-count', '1', '--memory-mb', '512')
  expect(await Template.exists(name)).toBe(true)
  expect(await run('list')).toContain(name)
  await run('publish', name, '--yes')
  await run('delete', name, '--yes')
  expect(await Template.exists(name)).toBe(false)
})
