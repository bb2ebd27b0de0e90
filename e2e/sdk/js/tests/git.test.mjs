// `sandbox.git`: commands that the SDK runs. The sandbox's image must have git.
import { expect } from 'vitest'
import { test } from './fixture.mjs'

test('a repository from its beginning to a clone', async ({ sandbox, folder }) => {
  const path = `${folder}/repository`
  const author = { authorName: 'Some One', authorEmail: 'one@example.com' }
  await sandbox.git.init(path, { initialBranch: 'main' })
  await sandbox.git.configureUser('Some One', 'one@example.com', { scope: 'local', path })
  await sandbox.files.write(`${path}/file`, 'one\n')
  expect((await sandbox.git.status(path)).isClean).toBe(false)
  await sandbox.git.add(path)
  await sandbox.git.commit(path, 'First', author)
  expect(await sandbox.git.status(path)).toMatchObject({ isClean: true, currentBranch: 'main' })
  await sandbox.git.createBranch(path, 'other')
  await sandbox.git.checkoutBranch(path, 'main')
  expect((await sandbox.git.branches(path)).branches.sort()).toEqual(['main', 'other'])
  await sandbox.git.deleteBranch(path, 'other')
  await sandbox.git.init(`${folder}/bare.git`, { bare: true, initialBranch: 'main' })
  await sandbox.git.remoteAdd(path, 'origin', `${folder}/bare.git`)
  await sandbox.git.push(path, { remote: 'origin', branch: 'main', setUpstream: true })
  await sandbox.git.clone(`${folder}/bare.git`, { path: `${folder}/clone` })
  expect(await sandbox.files.read(`${folder}/clone/file`)).toBe('one\n')
})
