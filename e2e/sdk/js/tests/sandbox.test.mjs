import { expect, test } from 'vitest'
import { AuthenticationError, E2B, InvalidArgumentError, NotFoundError, Sandbox, SandboxError, SandboxNotFoundError, Secret } from 'e2b'
import { all, create, sharedSandbox, uniqueName, waitUntil } from './fixture.mjs'

const sandbox = sharedSandbox()
const secondsLeft = async (of) => ((await of.getInfo()).endAt.getTime() - Date.now()) / 1000

// covers: Sandbox.create, Sandbox.create(metadata), Sandbox.create(envs), Sandbox.create(timeoutMs), Sandbox.create(secure), Sandbox.getInfo, Sandbox.getFullInfo
test('create and get info', async () => {
  const made = await create('base', { timeoutMs: 200_000, metadata: { purpose: 'žluť & co' }, envs: { GREETING: 'hello you' }, secure: true })
  const info = await made.getInfo()
  expect(info).toMatchObject({ sandboxId: made.sandboxId, name: 'base', state: 'running', metadata: { purpose: 'žluť & co' }, cpuCount: 1, memoryMB: 512 })
  expect(await secondsLeft(made)).toBeGreaterThan(100)
  expect((await made.commands.run('echo $GREETING')).stdout).toBe('hello you\n')
  expect(await Sandbox.getInfo(made.sandboxId)).toEqual(info)
  expect((await Sandbox.getFullInfo(made.sandboxId)).sandboxId).toBe(made.sandboxId)
})

// covers: Sandbox.create(template)
test('create of a template that is absent', async () => {
  await expect(create('hearth-no-such')).rejects.toThrow(/hearth-no-such/)
  await expect(create({ timeoutMs: 0 })).rejects.toThrow(/timeout/)
})

// covers: Sandbox.kill, Sandbox.isRunning
test('kill', async () => {
  const made = await create()
  expect([await made.isRunning(), await made.kill(), await made.isRunning(), await made.kill()]).toEqual([true, true, false, false])
  await expect(made.getInfo()).rejects.toBeInstanceOf(SandboxNotFoundError)
  await expect(Sandbox.connect(made.sandboxId)).rejects.toBeInstanceOf(NotFoundError)
  expect(await Sandbox.kill(made.sandboxId)).toBe(false)
})

// covers: Sandbox.setTimeout
test('set a timeout', async () => {
  const made = await create()
  await made.setTimeout(1_000_000)
  expect(await secondsLeft(made)).toBeGreaterThan(900)
  await Sandbox.setTimeout(made.sandboxId, 1_000)
  await waitUntil(async () => !(await made.isRunning()), 'the sandbox’s end')
})

// covers: Sandbox.pause, Sandbox.connect, Sandbox.betaPause
test('pause and connect', async () => {
  const made = await create()
  const sleeper = await made.commands.run('sleep 600', { background: true })
  expect([await made.pause(), await made.pause()]).toEqual([true, false])
  expect((await made.getInfo()).state).toBe('paused')
  const again = await Sandbox.connect(made.sandboxId, { timeoutMs: 300_000 })
  expect((await again.commands.list()).map((process) => process.pid)).toContain(sleeper.pid)
  expect(await Sandbox.pause(made.sandboxId)).toBe(true)
  await made.connect()
  expect(await made.betaPause()).toBe(true)
  await made.connect()
  expect((await made.commands.run('echo on')).stdout).toBe('on\n')
})

// covers: Sandbox.pause(keepMemory), Sandbox.pause(mode)
test('pause of the files alone', async () => {
  const made = await create()
  await made.commands.run('echo kept > ~/kept; sync')
  expect(await made.pause({ keepMemory: false })).toBe(true)
  await made.connect()
  expect(await made.files.read('kept')).toBe('kept\n')
})

// covers: Sandbox.connect(onResume)
test('a boot instead of a restore', async () => {
  const made = await create()
  await made.files.write('/dev/shm/kept', 'in memory')
  await made.pause()
  await made.connect({ onResume: 'restore' })
  expect(await made.files.read('/dev/shm/kept')).toBe('in memory')
  await made.pause()
  await made.connect({ onResume: 'reboot' })
  expect(await made.files.exists('/dev/shm/kept')).toBe(false)
})

// covers: Sandbox.create(lifecycle)
test('a lifecycle', async () => {
  const made = await create({ lifecycle: { onTimeout: 'pause', autoResume: true } })
  expect((await made.getInfo()).lifecycle).toEqual({ onTimeout: 'pause', autoResume: true })
  await made.pause()
  expect((await made.commands.run('echo on')).stdout).toBe('on\n')
  await made.setTimeout(1_000)
  await waitUntil(async () => (await made.getInfo()).state === 'paused', 'the pause')
})

// covers: Sandbox.list, SandboxPaginator.nextItems
test('list', async () => {
  const mark = uniqueName()
  const ids = [(await create({ metadata: { mark: `${mark} & more` } })).sandboxId, (await create({ metadata: { mark: `${mark} & more` } })).sandboxId]
  const of = async (query, options) => (await all(Sandbox.list({ query: { metadata: { mark: `${mark} & more` }, ...query }, ...options }))).map((info) => info.sandboxId)
  expect(await of({})).toEqual([...ids].reverse())
  expect(await of({}, { order: 'asc', limit: 1 })).toEqual(ids)
  await Sandbox.pause(ids[0])
  expect(await of({ state: ['paused'] })).toEqual([ids[0]])
  expect(await of({ state: ['running', 'paused'], template: 'base' })).toHaveLength(2)
  expect(await of({ startedAfter: new Date() })).toEqual([])
})

// covers: Sandbox.getHost
test('a port is reached by its host', async () => {
  const host = sandbox().getHost(8123)
  expect(host).toMatch(new RegExp(`^8123-${sandbox().sandboxId}\\.`))
  const ask = () => fetch(process.env.E2B_SANDBOX_URL, { headers: { 'E2b-Sandbox-Id': sandbox().sandboxId, 'E2b-Sandbox-Port': '8123' } })
  expect(await (await ask()).text()).toContain('port is not open')
  await sandbox().commands.run('cd /usr && python3 -m http.server 8123', { background: true })
  await waitUntil(async () => (await ask()).status === 200, 'the server’s answer')
})

// covers: Sandbox.getMetrics
test('metrics', async () => {
  const [first] = await waitUntil(async () => (await sandbox().getMetrics()).slice(-1), 'the first measurement')
  expect(first).toMatchObject({ cpuCount: 1, memTotal: expect.any(Number), diskTotal: expect.any(Number) })
  expect(await Sandbox.getMetrics(sandbox().sandboxId, { end: new Date(first.timestamp.getTime() - 3_600_000) })).toEqual([])
})

// covers: Sandbox.updateNetwork, Sandbox.create(network), Sandbox.create(allowInternetAccess)
test('rules of the network', async () => {
  const made = await create({ allowInternetAccess: false, network: { allowPublicTraffic: false } })
  expect(made.trafficAccessToken).toBeTruthy()
  expect((await made.getInfo()).allowInternetAccess).toBe(false)
  await made.updateNetwork({ denyOut: ['192.0.2.0/24'] })
  expect((await made.getInfo()).network.denyOut).toEqual(['192.0.2.0/24'])
  await Sandbox.updateNetwork(made.sandboxId, {})
  expect((await made.getInfo()).network?.denyOut ?? []).toEqual([])
})

// covers: Sandbox.fork, Sandbox.fork(count), Sandbox.fork(timeoutMs)
test('fork', async () => {
  const made = await create()
  await made.files.write('/home/user/mark', 'original')
  const copies = [...(await made.fork({ timeoutMs: 100_000 })), ...(await Sandbox.fork(made.sandboxId, { count: 1, timeoutMs: 100_000 }))]
  try {
    for (const copy of copies) expect(await copy.files.read('/home/user/mark')).toBe('original')
    expect(new Set([made, ...copies].map((one) => one.sandboxId)).size).toBe(3)
  } finally {
    await Promise.all(copies.map((copy) => copy.kill?.()))
  }
})

// covers: Sandbox.createSnapshot, Sandbox.listSnapshots, SnapshotPaginator.nextItems, Sandbox.deleteSnapshot, Sandbox.createSnapshot(name)
test('snapshots', async () => {
  const made = await create()
  await made.files.write('/home/user/mark', 'original')
  const snapshot = await made.createSnapshot({ name: uniqueName() })
  const other = await Sandbox.createSnapshot(made.sandboxId)
  const listed = async () => (await all(made.listSnapshots({ limit: 1 }))).map((found) => found.snapshotId)
  expect((await listed()).sort()).toEqual([snapshot.snapshotId, other.snapshotId].sort())
  expect(await all(Sandbox.listSnapshots({ sandboxId: made.sandboxId }))).toHaveLength(2)
  expect(await (await create(snapshot.snapshotId)).files.read('/home/user/mark')).toBe('original')
  for (const { snapshotId } of [snapshot, other]) expect([await Sandbox.deleteSnapshot(snapshotId), await Sandbox.deleteSnapshot(snapshotId)]).toEqual([true, false])
  expect(await listed()).toEqual([])
})

// covers: Sandbox.create(mcp), Sandbox.getMcpToken, Sandbox.create(iam), Secret.iamToken
// not offered: 400, refused by its name
test('what is refused by its name', async () => {
  await expect(create({ mcp: { github: { githubPersonalAccessToken: 'x' } } })).rejects.toThrow(/mcp is not offered/)
  await expect(create({ iam: { tokens: { aws: Secret.iamToken({ audience: 'sts', tokenType: 'JWT-SVID' }) } } })).rejects.toThrow(/iam is not offered/)
})

// covers: Sandbox.getMcpUrl
// differs: made by the SDK; no MCP server is behind it
test('an address for MCP', () => {
  expect(sandbox().getMcpUrl()).toBe(`https://${sandbox().getHost(50005)}/mcp`)
})

// covers: E2B.Sandbox, E2B.Template, E2B.Volume, E2B.Secret
test('a client that is bound', async () => {
  const client = new E2B({ apiKey: process.env.E2B_API_KEY, apiUrl: process.env.E2B_API_URL, sandboxUrl: process.env.E2B_SANDBOX_URL })
  expect((await client.Sandbox.getInfo(sandbox().sandboxId)).state).toBe('running')
  expect(await client.Template.exists('base')).toBe(true)
  expect(await client.Volume.destroy('hearth-no-such')).toBe(false)
  expect(await client.Secret.exists('HEARTH_NO_SUCH')).toBe(false)
  await expect(new E2B({ apiKey: 'e2b_0' }).Sandbox.getInfo(sandbox().sandboxId)).rejects.toBeInstanceOf(AuthenticationError)
})
