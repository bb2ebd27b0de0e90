// Volumes: shared folders that outlive sandboxes.
import { expect, onTestFinished, test } from 'vitest'
import { Volume, VolumeError, VolumeNotFoundError, VolumePathNotFoundError } from 'e2b'
import { create, uniqueName, waitUntil } from './fixture.mjs'

// The SDK has a variable of its own for where the files of volumes are.
process.env.E2B_VOLUME_API_URL ??= process.env.E2B_API_URL

async function made() {
  const volume = await Volume.create(uniqueName())
  onTestFinished(() => Volume.destroy(volume.volumeId))
  return volume
}

// covers: Volume.create, Volume.connect, Volume.list, Volume.getInfo, Volume.destroy
test('volumes come and go', async () => {
  const name = uniqueName()
  const volume = await Volume.create(name)
  expect([volume.name, !!volume.token]).toEqual([name, true])
  await expect(Volume.create(name)).rejects.toBeInstanceOf(VolumeError)
  expect((await Volume.list()).map((there) => there.volumeId)).toContain(volume.volumeId)
  expect(await Volume.getInfo(volume.volumeId)).toMatchObject({ name, token: volume.token })
  await volume.writeFile('/kept', 'here')
  expect(await (await Volume.connect(volume.volumeId)).readFile('/kept')).toBe('here')
  expect([await Volume.destroy(volume.volumeId), await Volume.destroy(volume.volumeId)]).toEqual([true, false])
  await expect(Volume.getInfo(volume.volumeId)).rejects.toBeInstanceOf(VolumeNotFoundError)
})

// covers: Volume.writeFile, Volume.readFile, Volume.exists, Volume.remove
test('files of a volume', async () => {
  const volume = await made()
  expect(await volume.exists('/a')).toBe(false)
  expect(await volume.writeFile('/a', 'text ü')).toMatchObject({ name: 'a', path: '/a', size: 7 })
  expect(await volume.readFile('/a')).toBe('text ü')
  const large = crypto.getRandomValues(new Uint8Array(1 << 16))
  await volume.writeFile('/large', new Blob([large]).stream(), { mode: 0o600, uid: 7, gid: 8 })
  expect(await volume.getInfo('/large')).toMatchObject({ mode: 0o600, uid: 7, gid: 8, size: large.length })
  expect(await volume.readFile('/large', { format: 'bytes' })).toEqual(large)
  expect((await volume.readFile('/large', { format: 'blob' })).size).toBe(large.length)
  const pieces = []
  for await (const piece of await volume.readFile('/large', { format: 'stream' })) pieces.push(piece)
  expect(Buffer.concat(pieces)).toEqual(Buffer.from(large))
  await volume.remove('/a')
  expect(await volume.exists('/a')).toBe(false)
  await expect(volume.readFile('/a')).rejects.toBeInstanceOf(VolumePathNotFoundError)
})

// covers: Volume.makeDir, Volume.list, Volume.getInfo, Volume.updateMetadata, Volume.remove
test('folders of a volume', async () => {
  const volume = await made()
  expect(await volume.makeDir('/a/b', { force: true, mode: 0o700 })).toMatchObject({ path: '/a/b', type: 'directory', mode: 0o700 })
  await expect(volume.makeDir('/x/y')).rejects.toBeInstanceOf(VolumePathNotFoundError)
  await volume.writeFile('/new/file', 'x', { force: true })
  const paths = async (opts) => (await volume.list('/', opts)).map((entry) => entry.path)
  expect(await paths()).toEqual(['/a', '/new'])
  expect(await paths({ depth: 2 })).toEqual(['/a', '/a/b', '/new', '/new/file'])
  expect(await volume.updateMetadata('/a', { uid: 3, gid: 4, mode: 0o711 })).toMatchObject({ uid: 3, gid: 4, mode: 0o711 })
  await volume.remove('/a')
  await expect(volume.list('/a')).rejects.toBeInstanceOf(VolumePathNotFoundError)
})

// covers: Sandbox.create(volumeMounts)
test('sandboxes share a volume', async () => {
  const volume = await made()
  await volume.writeFile('/seed', 'before')
  const one = await create({ volumeMounts: { '/mnt/data': volume } })
  const two = await create({ volumeMounts: { '/data': volume.name } })
  expect((await one.getInfo()).volumeMounts).toEqual([{ name: volume.name, path: '/mnt/data' }])
  expect(await one.files.read('/mnt/data/seed')).toBe('before')
  await one.commands.run('echo one > /mnt/data/shared')
  await waitUntil(async () => (await two.commands.run('cat /data/shared || true')).stdout === 'one\n', 'the other’s file')
  expect(await volume.readFile('/shared')).toBe('one\n')
})
