import { AuthenticationError, CommandExitError, InvalidArgumentError, NotFoundError, TimeoutError } from 'e2b'
import { expect } from 'vitest'
import { test, waitUntil } from './fixture.mjs'

const failure = (promise) => promise.then(() => undefined, (error) => error)

// covers: Commands.run
test('run', async ({ sandbox }) => {
  const seen = { out: '', err: '' }
  const result = await sandbox.commands.run('echo out; echo err >&2', {
    onStdout: (text) => { seen.out += text },
    onStderr: (text) => { seen.err += text },
  })
  expect(result).toMatchObject({ stdout: 'out\n', stderr: 'err\n', exitCode: 0 })
  expect(seen).toEqual({ out: 'out\n', err: 'err\n' })
})

test('run that fails', async ({ sandbox }) => {
  const error = await failure(sandbox.commands.run('echo out; exit 7'))
  expect(error).toBeInstanceOf(CommandExitError)
  expect([error.exitCode, error.stdout, error.error]).toEqual([7, 'out\n', 'exit status 7'])
})

test('run with environment, folder and user', async ({ sandbox }) => {
  const options = { envs: { GREETING: 'hello' }, cwd: '/usr', user: 'root' }
  const { stdout } = await sandbox.commands.run('echo $GREETING $(pwd) $(whoami) $USER $HOME', options)
  expect(stdout).toBe('hello /usr root root /root\n')
})

test('run where the arguments are wrong', async ({ sandbox }) => {
  expect(await failure(sandbox.commands.run('true', { cwd: '/no/such' }))).toBeInstanceOf(InvalidArgumentError)
  expect(await failure(sandbox.commands.run('true', { user: 'hearth-nobody' }))).toBeInstanceOf(AuthenticationError)
})

test('run with much output', async ({ sandbox }) => {
  const { stdout } = await sandbox.commands.run('seq 1 200000')
  expect(stdout.split('\n').length).toBe(200001)
  expect(stdout.endsWith('200000\n')).toBe(true)
})

// covers: Commands.run
test('a time-out kills', async ({ sandbox, folder }) => {
  const error = await failure(sandbox.commands.run(`echo $$ > ${folder}/pid; sleep 600 & wait`, { timeoutMs: 1500 }))
  expect(error).toBeInstanceOf(TimeoutError)
  const pid = (await sandbox.files.read(`${folder}/pid`)).trim()
  await waitUntil(async () => (await sandbox.commands.run(`kill -0 ${pid} 2>/dev/null || echo gone`)).stdout === 'gone\n')
})

// covers: Commands.list, Commands.kill, CommandHandle.wait
test('background, list, kill', async ({ sandbox }) => {
  const handle = await sandbox.commands.run('sleep 600', { background: true, envs: { A: 'b' }, cwd: '/usr' })
  const found = (await sandbox.commands.list()).find((process) => process.pid === handle.pid)
  expect(found).toMatchObject({ cmd: '/bin/bash', args: ['-l', '-c', 'sleep 600'], envs: { A: 'b' }, cwd: '/usr' })
  expect(await sandbox.commands.kill(handle.pid)).toBe(true)
  const error = await failure(handle.wait())
  expect([error.exitCode, error.error]).toEqual([-1, 'signal: killed'])
  expect(await sandbox.commands.kill(handle.pid)).toBe(false)
  expect(await handle.kill()).toBe(false)
})

// covers: Commands.connect, CommandHandle.disconnect
test('connect and disconnect', async ({ sandbox, folder }) => {
  const script = `echo before; touch ${folder}/said; while [ ! -e ${folder}/go ]; do sleep 0.05; done; echo after; exit 3`
  const first = await sandbox.commands.run(script, { background: true })
  await waitUntil(() => sandbox.files.exists(`${folder}/said`))
  const second = await sandbox.commands.connect(first.pid)
  await first.disconnect()
  await sandbox.files.write(`${folder}/go`, '')
  const error = await failure(second.wait())
  expect([error.exitCode, error.stdout]).toEqual([3, 'after\n'])
  expect(await failure(sandbox.commands.connect(999999))).toBeInstanceOf(NotFoundError)
})

// covers: Commands.sendStdin, Commands.closeStdin
test('input', async ({ sandbox }) => {
  const handle = await sandbox.commands.run('cat; echo over', { background: true, stdin: true })
  await sandbox.commands.sendStdin(handle.pid, 'some žluť\n')
  await handle.sendStdin('more\n')
  await sandbox.commands.closeStdin(handle.pid)
  expect((await handle.wait()).stdout).toBe('some žluť\nmore\nover\n')
  expect(await failure(sandbox.commands.sendStdin(999999, 'x'))).toBeInstanceOf(NotFoundError)
})

test('many at once', async ({ sandbox }) => {
  const run = (number) => sandbox.commands.run(`sleep 0.2; echo ${number}`)
  const results = await Promise.all(Array.from({ length: 20 }, (_, number) => run(number)))
  expect(results.map(({ stdout }) => Number(stdout))).toEqual(Array.from({ length: 20 }, (_, number) => number))
})

// covers: Pty.create, Pty.sendInput, Pty.resize, Pty.connect
test('terminal', async ({ sandbox }) => {
  let shown = ''
  const onData = (data) => { shown += new TextDecoder().decode(data) }
  const terminal = await sandbox.pty.create({ cols: 80, rows: 24, onData, cwd: '/usr', user: 'root' })
  await sandbox.pty.resize(terminal.pid, { cols: 132, rows: 50 })
  const other = await sandbox.pty.connect(terminal.pid, { onData: () => {} })
  expect(other.pid).toBe(terminal.pid)
  await sandbox.pty.sendInput(terminal.pid, new TextEncoder().encode('stty size; pwd; exit 5\n'))
  expect((await failure(terminal.wait())).exitCode).toBe(5)
  expect(shown).toContain('50 132')
  expect(shown).toContain('/usr')
})

// covers: Pty.kill
test('a terminal is killed', async ({ sandbox }) => {
  const terminal = await sandbox.pty.create({ cols: 80, rows: 24, onData: () => {} })
  expect(await sandbox.pty.kill(terminal.pid)).toBe(true)
  expect((await failure(terminal.wait())).exitCode).toBe(-1)
  expect(await sandbox.pty.kill(terminal.pid)).toBe(false)
})

// covers: CommandHandle.sendStdin, CommandHandle.closeStdin, CommandHandle.kill, Commands.supportsStdinClose
test('input and end by the handle', async ({ sandbox }) => {
  expect(sandbox.commands.supportsStdinClose).toBe(true)
  const handle = await sandbox.commands.run('wc -c', { background: true, stdin: true })
  await handle.sendStdin(new TextEncoder().encode('12345'))
  await handle.closeStdin()
  expect((await handle.wait()).stdout.trim()).toBe('5')
  const sleeper = await sandbox.commands.run('sleep 600', { background: true })
  expect(await sleeper.kill()).toBe(true)
  expect((await failure(sleeper.wait())).exitCode).toBe(-1)
})

// covers: Sandbox.isRunning
test('isRunning', async ({ sandbox }) => {
  expect(await sandbox.isRunning()).toBe(true)
})
