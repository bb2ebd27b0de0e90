// E2B's command line, `@e2b/cli`, which speaks to the older calls as well.
import { execFile, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import { Sandbox, Template, waitForTimeout } from 'e2b'
import { create, forgetTemplate, uniqueName, waitUntil } from './fixture.mjs'

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

test('commands, copies and lists', async () => {
  const [folder, mark] = [newFolder(), uniqueName()]
  const run = (...args) => e2b(folder, 'sandbox', ...args)
  const { sandboxId: id } = await create({ metadata: { mark } })
  const { sandboxId: other } = await create({ metadata: { mark } })
  await expect(run('exec', id, 'echo out; exit 7')).rejects.toMatchObject({ code: 7, stdout: 'out\n' })
  expect(await run('exec', '--user', 'root', '--cwd', '/usr', '--env', 'OWN=mine', id, 'echo $(whoami)-$(pwd)-$OWN')).toBe('root-/usr-mine\n')
  const piped = await promisify(execFile)('sh', ['-c', 'echo typed | "$@"', '-', process.execPath, program, 'sandbox', 'exec', id, 'tr a-z A-Z'], { timeout: 60_000 })
  expect(piped.stdout).toBe('TYPED\n')
  const pid = (await run('exec', '--background', id, 'sleep 1000')).trim()
  const sandbox = await Sandbox.connect(id)
  expect((await sandbox.commands.list()).map((process) => String(process.pid))).toContain(pid)
  const [, snapshot] = (await run('snapshot', 'create', '--name', mark, id)).match(/Created snapshot \S*?(?:\x1b\[\d+m)?([\w:/-]+)/)
  onTestFinished(() => Sandbox.deleteSnapshot(snapshot))
  const snapshots = async () => JSON.parse(await run('snapshot', 'list', '--format', 'json', id)).map((found) => found.snapshotId)
  expect(await snapshots()).toEqual([snapshot])
  await run('snapshot', 'delete', snapshot)
  expect(await snapshots()).toEqual([])
  await run('pause', other)
  const listed = async (...args) => JSON.parse(await run('list', '--metadata', `mark=${mark}`, '--format', 'json', ...args)).map((found) => found.sandboxId)
  expect([await listed(), await listed('--state', 'paused')]).toEqual([[id], [other]])
  expect((await listed('--state', 'running,paused', '--order', 'asc'))).toEqual([id, other])
  const measured = (await run('metrics', '--format', 'json', id)).trim().split('\n').map((line) => JSON.parse(line))
  expect(measured[0]).toMatchObject({ cpuCount: 1, memTotal: expect.any(Number) })
  await run('kill', '--all', '--metadata', `mark=${mark}`, '--state', 'running,paused')
  expect([await Sandbox.kill(id), await Sandbox.kill(other)]).toEqual([false, false])
})

// A command on a terminal of 100 columns and 30 rows, as a person would use it.
function onTerminal(folder, ...args) {
  const line = `tty; stty cols 100 rows 30; exec "$@"`
  const running = spawn('script', ['-qec', `bash -c '${line}' - ${[process.execPath, program, ...args].join(' ')}`, '/dev/null'], {
    cwd: folder,
    env: { ...process.env, HOME: folder },
  })
  onTestFinished(() => running.kill('SIGKILL'))
  const ended = new Promise((resolve) => running.on('exit', (code) => resolve(code)))
  let screen = ''
  running.stdout.on('data', (data) => (screen += data))
  return {
    type: (keys) => running.stdin.write(keys),
    shows: (what) => waitUntil(() => screen.match(what), `${what} on the terminal, which shows ${JSON.stringify(screen)}`),
    ended: () => ended,
  }
}

test('a terminal that is connected to a sandbox', async () => {
  const sandbox = await create({ envs: { GREETING: 'hello' } })
  const terminal = onTerminal(newFolder(), 'sandbox', 'connect', sandbox.sandboxId, '--cwd', '/usr', '--env', 'OWN=mine')
  const [, tty] = await terminal.shows(/(\/dev\/pts\/\d+)/)
  await terminal.shows(/Terminal connecting to sandbox[^]*\$ /)
  // What is typed is shown as well, so the answers are what nobody types.
  terminal.type('echo $GREETING-$OWN-$(pwd)-$(whoami)-$(stty size)\n')
  await terminal.shows(/hello-mine-\/usr-user-30 100\r/)
  terminal.type('cat > /tmp/typed\n')
  // Ctrl-D is an end only to who reads by then.
  await waitUntil(() => sandbox.files.exists('/tmp/typed'), 'the file')
  terminal.type('žluť\n\x04')
  await waitUntil(async () => (await sandbox.files.read('/tmp/typed').catch(() => '')) === 'žluť\n', 'what was typed')
  await promisify(execFile)('stty', ['-F', tty, 'cols', '132', 'rows', '50'])
  terminal.type('until [ "$(stty size)" = "50 132" ]; do sleep 0.1; done; echo resized-$((40 + 2))\n')
  await terminal.shows(/resized-42\r/)
  terminal.type('sleep 1000\n')
  await waitUntil(async () => (await sandbox.commands.run('pgrep -x sleep || true')).stdout, 'what runs in front')
  terminal.type('\x03')
  await waitUntil(async () => !(await sandbox.commands.run('pgrep -x sleep || true')).stdout, 'its end by Ctrl-C')
  terminal.type('exit\n')
  await terminal.shows(/Closing terminal connection/)
  expect(await terminal.ended()).toBe(0)
  // The sandbox lives on.
  expect((await sandbox.getInfo()).state).toBe('running')
  expect(await sandbox.files.read('/tmp/typed')).toBe('žluť\n')
})

test('a terminal to a sandbox of its own, which ends with it', async () => {
  const terminal = onTerminal(newFolder(), 'sandbox', 'create', 'base')
  const [, id] = await terminal.shows(/with sandbox ID \S*?(sbx[0-9a-z]{20,})[^]*\$ /)
  onTestFinished(() => Sandbox.kill(id))
  terminal.type('echo $((40 + 2))\n')
  await terminal.shows(/42\r/)
  terminal.type('exit\n')
  expect(await terminal.ended()).toBe(0)
  await waitUntil(async () => !(await Sandbox.getInfo(id).catch(() => undefined)), 'the sandbox’s end')
})

test('a terminal to a sandbox that is not there', async () => {
  const terminal = onTerminal(newFolder(), 'sandbox', 'connect', 'hearthnosuchsandbox')
  await terminal.shows(/hearthnosuchsandbox|not found/i)
  expect(await terminal.ended()).toBe(1)
})

test('what a sandbox’s start command writes', async () => {
  const [folder, name] = [newFolder(), uniqueName()]
  const talks = `echo '{"level": "warn", "message": "as an object", "logger": "talker"}'; echo 'a plain line'; echo 'a problem' >&2; sleep 1000`
  await Template.build(Template().fromImage('hearth/template-base').setStartCmd(talks, waitForTimeout(100)), name, { cpuCount: 1, memoryMB: 512 })
  forgetTemplate(name)
  // So that it boots, and the command is its machine's own.
  const sandbox = await create(name)
  await sandbox.pause({ keepMemory: false })
  await sandbox.connect()
  const logs = (...args) => e2b(folder, 'sandbox', 'logs', '--format', 'json', ...args, sandbox.sandboxId)
  const entries = async (...args) => (await logs(...args)).trim().split('\n').filter(Boolean).map((line) => JSON.parse(line))
  const said = async (...args) => (await entries(...args)).map((entry) => entry.message)
  await waitUntil(async () => (await said()).length >= 3, 'three lines')
  expect((await said()).sort()).toEqual(['a plain line', 'a problem', 'as an object'])
  expect((await said('--level', 'WARN')).sort()).toEqual(['a problem', 'as an object'])
  expect(await said('--loggers', 'talker')).toEqual(['as an object'])
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
