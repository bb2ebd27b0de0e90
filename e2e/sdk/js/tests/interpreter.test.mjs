import { describe, expect, onTestFinished, test } from 'vitest'
import { E2B, Sandbox } from '@e2b/code-interpreter'
import { Template, TimeoutError } from 'e2b'
import { sharedSandbox, waitUntil } from './fixture.mjs'

// What it takes to be told of a sandbox's end, on a host that other tests load.
const SOON_MS = 20_000

const there = await Template.exists('code-interpreter-v1')
if (!there) console.log('SKIPPED: there is no template code-interpreter-v1')

describe.skipIf(!there)('the code interpreter', () => {
  const sandbox = sharedSandbox(Sandbox)

  // covers: interpreter.Sandbox.runCode, interpreter.Sandbox.create
  test('state stays', async () => {
    const first = await sandbox().runCode("numbers = [1, 2]\nprint('made')")
    expect(first.logs.stdout).toEqual(['made\n'])
    const seen = []
    const second = await sandbox().runCode('numbers.append(3); numbers', { onResult: (result) => seen.push(result.text) })
    expect([second.text, seen]).toEqual(['[1, 2, 3]', ['[1, 2, 3]']])
  })

  // covers: interpreter.Sandbox.runCode
  test('errors and languages', async () => {
    const failed = await sandbox().runCode("raise ValueError('wrong')")
    expect(failed.error).toMatchObject({ name: 'ValueError', value: 'wrong' })
    expect((await sandbox().runCode('[1, 2].length', { language: 'javascript' })).text).toBe('2')
    expect((await sandbox().runCode('echo $GREETING', { language: 'bash', envs: { GREETING: 'hello' } })).logs.stdout).toEqual(['hello\n'])
  })

  // covers: interpreter.Sandbox.createCodeContext, interpreter.Sandbox.listCodeContexts, interpreter.Sandbox.restartCodeContext, interpreter.Sandbox.removeCodeContext
  test('contexts', async () => {
    const context = await sandbox().createCodeContext({ cwd: '/tmp', language: 'python' })
    expect((await sandbox().runCode('import os\nmine = os.getcwd()\nmine', { context })).text).toBe('/tmp')
    expect((await sandbox().runCode('mine')).error.name).toBe('NameError')
    const ids = async () => (await sandbox().listCodeContexts()).map((found) => found.id)
    expect(await ids()).toContain(context.id)
    await sandbox().restartCodeContext(context)
    expect((await sandbox().runCode("'mine' in globals()", { context })).text).toBe('False')
    await sandbox().removeCodeContext(context)
    expect(await ids()).not.toContain(context.id)
  })

  test('a chart', async () => {
    const code = "import matplotlib.pyplot as plt\nplt.bar(['A', 'B'], [3, 5])\nplt.title('Bars')\nplt.show()"
    const { results } = await sandbox().runCode(code, { timeoutMs: 120_000 })
    const drawn = results.find((result) => result.png)
    expect(drawn.chart).toMatchObject({ type: 'bar', title: 'Bars' })
    expect(Buffer.from(drawn.png, 'base64').subarray(1, 4).toString()).toBe('PNG')
  })

  const TIMEOUT = /^The sandbox was killed while|was not found.*sandbox timeout/s

  // What a call ends with whose sandbox is killed once it has begun.
  async function killedUnder(made, call, begun) {
    const ended = call().then(() => undefined, (error) => error)
    await begun()
    const [killed, error] = await Promise.all([made.kill(), Promise.race([ended, new Promise((resolve) => setTimeout(resolve, SOON_MS, 'it hangs'))])])
    expect(killed).toBe(true)
    expect(error).toBeInstanceOf(TimeoutError)
    expect(error.message).toMatch(TIMEOUT)
  }

  async function ofItsOwn() {
    const made = await Sandbox.create({ timeoutMs: 300_000 })
    onTestFinished(() => made.kill())
    return made
  }

  // covers: interpreter.Sandbox.runCode
  test('a sandbox that is killed while code runs', async () => {
    const made = await ofItsOwn()
    let begun
    const first = new Promise((resolve) => (begun = resolve))
    const run = () => made.runCode("print('begun', flush=True)\nimport time\ntime.sleep(1000)", { timeoutMs: 0, onStdout: begun })
    await killedUnder(made, run, () => first)
  })

  // The interpreter stands still, so that the call is under way for certain.
  test.each(['runCode', 'createCodeContext', 'listCodeContexts', 'restartCodeContext', 'removeCodeContext'])('a sandbox that is killed during %s', async (method) => {
    const made = await ofItsOwn()
    const argument = { runCode: '1 + 1', createCodeContext: { cwd: '/tmp' } }[method] ?? (await made.createCodeContext())
    await made.commands.run("pkill -STOP -f '[/]opt/code-interpreter/server'", { user: 'root' })
    // Something was sent to its port that it has not read.
    const unread = /:C34F \S+ 01 \S+:0*[1-9A-F]/
    await killedUnder(made, () => made[method](argument), () => waitUntil(async () => unread.test(await made.files.read('/proc/net/tcp')), 'the request'))
  })

  // covers: interpreter.E2B.Sandbox
  test('a client that is bound', async () => {
    const client = new E2B({ apiKey: process.env.E2B_API_KEY, apiUrl: process.env.E2B_API_URL, sandboxUrl: process.env.E2B_SANDBOX_URL })
    expect((await (await client.Sandbox.connect(sandbox().sandboxId)).runCode('1 + 1')).text).toBe('2')
  })
})
