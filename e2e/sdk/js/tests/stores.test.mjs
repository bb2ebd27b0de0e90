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
})
