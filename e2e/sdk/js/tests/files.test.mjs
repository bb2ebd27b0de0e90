import { AuthenticationError, FileNotFoundError, FilesystemEventType, FileType, getSignature, InvalidArgumentError } from 'e2b'
import { expect } from 'vitest'
import { test, waitUntil } from './fixture.mjs'

const failure = (promise) => promise.then(() => undefined, (error) => error)
// An address on loopback does not tell which sandbox is meant; these headers do.
const fetched = async (sandbox, url, options) => {
  const headers = { 'E2b-Sandbox-Id': sandbox.sandboxId, 'E2b-Sandbox-Port': '49983' }
  const answer = await fetch(url, { ...options, headers })
  return [answer.status, await answer.text()]
}

// covers: Filesystem.write, Filesystem.read
test('write and read', async ({ sandbox, folder }) => {
  const info = await sandbox.files.write(`${folder}/a žluť`, 'some text 🦀')
  expect(info).toMatchObject({ name: 'a žluť', path: `${folder}/a žluť`, type: 'file' })
  expect(await sandbox.files.read(info.path)).toBe('some text 🦀')
  const bytes = new Uint8Array(1_000_000).map((_, at) => at % 251)
  await sandbox.files.write(`${folder}/bytes`, bytes.buffer)
  expect(Buffer.from(await sandbox.files.read(`${folder}/bytes`, { format: 'bytes' })).equals(Buffer.from(bytes))).toBe(true)
  expect((await (await sandbox.files.read(`${folder}/bytes`, { format: 'blob' })).arrayBuffer()).byteLength).toBe(1_000_000)
  let length = 0
  for await (const piece of await sandbox.files.read(`${folder}/bytes`, { format: 'stream' })) length += piece.length
  expect(length).toBe(1_000_000)
})

test('write nothing', async ({ sandbox, folder }) => {
  await sandbox.files.write(`${folder}/empty`, '')
  expect(await sandbox.files.read(`${folder}/empty`)).toBe('')
  expect((await sandbox.files.read(`${folder}/empty`, { format: 'bytes' })).length).toBe(0)
})

test('write streams, octets and compressed', async ({ sandbox, folder }) => {
  const stream = new Blob(['streamed']).stream()
  await sandbox.files.write(`${folder}/stream`, stream)
  await sandbox.files.write(`${folder}/octets`, 'octets', { useOctetStream: true })
  await sandbox.files.write(`${folder}/packed`, 'packed '.repeat(100_000), { gzip: true })
  expect(await sandbox.files.read(`${folder}/stream`)).toBe('streamed')
  expect(await sandbox.files.read(`${folder}/octets`)).toBe('octets')
  expect(await sandbox.files.read(`${folder}/packed`, { gzip: true })).toBe('packed '.repeat(100_000))
})

// covers: Filesystem.writeFiles
test('write many', async ({ sandbox, folder }) => {
  const names = ['a"b', 'a\\b', 'a;b', 'a%b', 'd/ž', ...Array.from({ length: 1000 }, (_, number) => `n${number}`)]
  const infos = await sandbox.files.write(names.map((name) => ({ path: `${folder}/${name}`, data: name })))
  expect(infos.map(({ path }) => path)).toEqual(names.map((name) => `${folder}/${name}`))
  for (const name of names.slice(0, 6)) expect(await sandbox.files.read(`${folder}/${name}`)).toBe(name)
})

// covers: Filesystem.write
test('metadata', async ({ sandbox, folder }) => {
  const info = await sandbox.files.write(`${folder}/file`, 'x', { metadata: { Author: 'me' } })
  expect(info.metadata).toEqual({ author: 'me' })
  expect((await sandbox.files.getInfo(`${folder}/file`)).metadata).toEqual({ author: 'me' })
  expect((await sandbox.files.write(`${folder}/file`, 'y')).metadata).toBeUndefined()
  expect((await sandbox.files.getInfo(`${folder}/file`)).metadata).toBeUndefined()
})

// covers: Filesystem.list, Filesystem.getInfo, Filesystem.exists
test('list, info, exists', async ({ sandbox, folder }) => {
  await sandbox.files.write(`${folder}/d/e/file`, '12345', { user: 'root' })
  const paths = async (options) => (await sandbox.files.list(folder, options)).map(({ path }) => path.slice(folder.length))
  expect(await paths()).toEqual(['/d'])
  expect(await paths({ depth: 3 })).toEqual(['/d', '/d/e', '/d/e/file'])
  const info = await sandbox.files.getInfo(`${folder}/d/e/file`)
  expect(info).toMatchObject({ name: 'file', type: FileType.FILE, size: 5, mode: 0o644, permissions: '-rw-r--r--', owner: 'root', group: 'root' })
  expect(Math.abs(info.modifiedTime.getTime() - Date.now())).toBeLessThan(120_000)
  expect(await sandbox.files.exists(`${folder}/d`)).toBe(true)
  expect(await sandbox.files.exists(`${folder}/absent`)).toBe(false)
  await sandbox.commands.run(`ln -s ${folder}/d ${folder}/link`)
  expect((await sandbox.files.getInfo(`${folder}/link`)).symlinkTarget).toBe(`${folder}/d`)
})

// covers: Filesystem.makeDir, Filesystem.rename, Filesystem.remove
test('makeDir, rename, remove', async ({ sandbox, folder }) => {
  expect(await sandbox.files.makeDir(`${folder}/a/b`)).toBe(true)
  expect(await sandbox.files.makeDir(`${folder}/a/b`)).toBe(false)
  expect(await sandbox.files.rename(`${folder}/a`, `${folder}/c/d`)).toMatchObject({ name: 'd', type: FileType.DIR })
  await sandbox.files.remove(`${folder}/c`)
  expect(await sandbox.files.exists(`${folder}/c`)).toBe(false)
})

test('errors', async ({ sandbox, folder }) => {
  const absent = `${folder}/absent`
  const { files } = sandbox
  for (const ask of [() => files.read(absent), () => files.getInfo(absent), () => files.list(absent), () => files.rename(absent, folder)]) {
    expect(await failure(ask())).toBeInstanceOf(FileNotFoundError)
  }
  expect(await failure(sandbox.files.read(folder))).toBeInstanceOf(InvalidArgumentError)
  expect(await failure(sandbox.files.write(folder, 'x'))).toBeInstanceOf(InvalidArgumentError)
  expect(await failure(sandbox.files.read('/etc/hostname', { user: 'hearth-nobody' }))).toBeInstanceOf(AuthenticationError)
})

// covers: Filesystem.watchDir
test('watchDir', async ({ sandbox, folder }) => {
  await sandbox.files.makeDir(`${folder}/w/deep`)
  const seen = []
  let ended
  const watch = await sandbox.files.watchDir(`${folder}/w`, (event) => { seen.push(event) }, {
    recursive: true,
    includeEntry: true,
    onExit: (error) => { ended = error ?? 'well' },
  })
  const event = (type, name) => waitUntil(() => seen.find((event) => event.type === type && event.name === name), `${type} ${name}`)
  await sandbox.files.write(`${folder}/w/deep/file`, 'x')
  expect((await event(FilesystemEventType.WRITE, 'deep/file')).entry).toMatchObject({ name: 'file', type: FileType.FILE })
  await sandbox.files.remove(`${folder}/w`)
  expect((await event(FilesystemEventType.REMOVE, '.')).entry).toBeUndefined()
  expect(await waitUntil(() => ended, 'the end')).toBe('well')
  await watch.stop()
  expect(await failure(sandbox.files.watchDir(`${folder}/w`, () => {}))).toBeInstanceOf(FileNotFoundError)
})

// covers: WatchHandle.stop
test('a watch is stopped', async ({ sandbox, folder }) => {
  let ended = false
  const watch = await sandbox.files.watchDir(folder, () => {}, { onExit: () => { ended = true } })
  await watch.stop()
  await waitUntil(() => ended, 'the end')
})

// covers: Sandbox.downloadUrl, Sandbox.uploadUrl
test('signed addresses', async ({ sandbox, folder }) => {
  const form = new FormData()
  form.append('file', new Blob(['content']), 'ignored')
  const upload = await sandbox.uploadUrl(`${folder}/a b`, { useSignatureExpiration: 60_000 })
  expect((await fetched(sandbox, upload, { method: 'POST', body: form }))[0]).toBe(200)
  expect(await fetched(sandbox, await sandbox.downloadUrl(`${folder}/a b`))).toEqual([200, 'content'])
  const signed = await sandbox.downloadUrl(`${folder}/a b`, { user: 'root', useSignatureExpiration: 60_000 })
  expect(await fetched(sandbox, signed)).toEqual([200, 'content'])
  expect((await fetched(sandbox, signed.replace('username=root', 'username=nobody')))[0]).toBe(401)
})

// covers: getSignature
test('a signature', async () => {
  const signed = await getSignature({ path: '/x', operation: 'read', user: 'user', envdAccessToken: 'token', expirationInSeconds: 60 })
  expect(signed.signature).toMatch(/^v1_/)
})
