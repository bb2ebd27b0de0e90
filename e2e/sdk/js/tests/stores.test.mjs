<<<<<<< HEAD
// Secrets, which Hearth does not offer by this API: what a caller is told.
import { expect, test } from 'vitest'
import { Secret, SecretError } from 'e2b'

// covers: Secret.create, Secret.list, SecretPaginator.nextItems
// not offered: refused: the server has nothing of the kind
test('secrets are refused', async () => {
  await expect(Secret.create('HEARTH_SDK', 'x')).rejects.toBeInstanceOf(SecretError)
  await expect(Secret.list().nextItems()).rejects.toBeInstanceOf(SecretError)
})

// covers: Secret.getInfo, Secret.update, Secret.exists, Secret.destroy
// not offered: as if there were none of that name
test('no secret is found', async () => {
  for (const ask of [Secret.getInfo, Secret.update]) await expect(ask.call(Secret, 'HEARTH_SDK', 'x')).rejects.toThrow(/HEARTH_SDK/)
  expect([await Secret.exists('HEARTH_SDK'), await Secret.destroy('HEARTH_SDK')]).toEqual([false, false])
})

// covers: Secret.fill
// not offered: made by the SDK; what it stands for is filled in nowhere
test('placeholders are the SDK’s', () => {
  expect(Secret.fill('HEARTH_SDK')).toContain('HEARTH_SDK')
=======
// Volumes, which Hearth does not offer by this API: what a caller is told.
import { expect, test } from 'vitest'
import { Volume, VolumeError } from 'e2b'

// covers: Volume.create, Volume.list
// not offered: refused: the server has nothing of the kind
test('volumes are refused', async () => {
  await expect(Volume.create('hearth-no-such')).rejects.toBeInstanceOf(VolumeError)
  await expect(Volume.list()).rejects.toBeInstanceOf(VolumeError)
})

// covers: Volume.connect, Volume.getInfo, Volume.destroy
// not offered: as if there were none of that ID
test('no volume is found', async () => {
  for (const ask of [Volume.connect, Volume.getInfo]) await expect(ask.call(Volume, 'hearth-no-such')).rejects.toThrow(/hearth-no-such/)
  expect(await Volume.destroy('hearth-no-such')).toBe(false)
})

// covers: Volume.makeDir, Volume.writeFile, Volume.readFile, Volume.exists, Volume.updateMetadata, Volume.remove
// not offered: 401: there is no volume whose token could be known
test('no volume has content', async () => {
  const volume = new Volume('hearth-no-such', 'hearth-no-such', 'x')
  const here = { apiUrl: process.env.E2B_API_URL }
  for (const ask of [
    () => volume.list('/', here),
    () => volume.makeDir('/a', here),
    () => volume.writeFile('/a', 'x', here),
    () => volume.readFile('/a', here),
    () => volume.updateMetadata('/a', { mode: 0o600 }, here),
    () => volume.remove('/a', here),
    () => volume.exists('/a', here),
  ]) {
    await expect(ask()).rejects.toThrow()
  }
>>>>>>> a1ff85c (Offer E2B's calls for secrets and teams)
})
