// Secrets: kept, listed, updated, destroyed; never shown.
import { randomUUID } from 'node:crypto'
import { expect, onTestFinished, test } from 'vitest'
import { Secret, SecretError } from 'e2b'

/** A name for a secret that is gone afterwards. */
function newName() {
  const name = `hearth-sdk-${randomUUID().slice(0, 8)}`
  onTestFinished(() => Secret.destroy(name))
  return name
}

// covers: Secret.create, Secret.getInfo, Secret.exists, Secret.destroy
test('a secret from beginning to end', async () => {
  const name = newName()
  expect(await Secret.exists(name)).toBe(false)
  const made = await Secret.create(name, 'hush', { metadata: { team: 'a' } })
  expect([made.name, made.version, made.metadata]).toEqual([name, 1, { team: 'a' }])
  expect(await Secret.getInfo(made.secretId)).toEqual(made)
  expect(JSON.stringify(made)).not.toContain('hush')
  await expect(Secret.create(name, 'other')).rejects.toBeInstanceOf(SecretError)
  expect([await Secret.exists(name), await Secret.destroy(name), await Secret.destroy(name)]).toEqual([true, true, false])
  await expect(Secret.getInfo(name)).rejects.toThrow(name)
})

// covers: Secret.update
test('an update is another version', async () => {
  const name = newName()
  await expect(Secret.update(name, 'x')).rejects.toThrow(name)
  await Secret.create(name, 'hush', { metadata: { team: 'a' } })
  const updated = await Secret.update(name, 'anew')
  expect([updated.version, updated.metadata]).toEqual([2, { team: 'a' }])
})

// covers: Secret.list, SecretPaginator.nextItems
test('secrets by pages', async () => {
  const names = [newName(), newName(), newName()]
  for (const name of names) await Secret.create(name, 'x')
  const pages = Secret.list({ limit: 2 })
  const seen = []
  while (pages.hasNext) seen.push(...(await pages.nextItems()))
  expect(seen.map((secret) => secret.name)).toEqual(expect.arrayContaining(names))
})

// covers: Secret.fill
// not offered: made by the SDK; rules that would have it filled in are refused
test('a placeholder is the SDK’s', () => {
  expect(Secret.fill('api-key')).toContain('api-key')
})
