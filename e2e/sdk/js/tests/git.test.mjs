// `sandbox.git`: commands that the SDK runs. The sandbox's image must have git.
import { expect, onTestFinished } from 'vitest'
import { test } from './fixture.mjs'

const AUTHOR = { authorName: 'Some One', authorEmail: 'one@example.com' }

// covers: Git.init, Git.add, Git.commit, Git.status, Git.configureUser, Git.setConfig, Git.getConfig, Git.reset, Git.restore
// covers: Git.branches, Git.createBranch, Git.checkoutBranch, Git.deleteBranch
// covers: Git.remoteAdd, Git.remoteGet, Git.push, Git.clone, Git.pull
test('a repository from its beginning to a clone', async ({ sandbox, folder }) => {
  const { git, files } = sandbox
  const path = `${folder}/repository`
  await git.init(path, { initialBranch: 'main' })
  await git.configureUser('Some One', 'one@example.com', { scope: 'local', path })
  await files.write(`${path}/file`, 'one\n')
  await git.add(path)
  await git.commit(path, 'First', AUTHOR)
  expect(await git.status(path)).toMatchObject({ isClean: true, currentBranch: 'main' })
  await git.createBranch(path, 'other')
  await git.checkoutBranch(path, 'main')
  expect((await git.branches(path)).branches.sort()).toEqual(['main', 'other'])
  await git.deleteBranch(path, 'other')
  await files.write(`${path}/file`, 'two\n')
  await git.restore(path, { paths: ['file'] })
  expect(await files.read(`${path}/file`)).toBe('one\n')
  await files.write(`${path}/file`, 'two\n')
  await git.reset(path, { mode: 'hard' })
  expect(await files.read(`${path}/file`)).toBe('one\n')
  await git.setConfig('hearth.test', 'value', { scope: 'local', path })
  expect(await git.getConfig('hearth.test', { scope: 'local', path })).toBe('value')
  await git.init(`${folder}/bare.git`, { bare: true, initialBranch: 'main' })
  await git.remoteAdd(path, 'origin', `${folder}/bare.git`)
  expect(await git.remoteGet(path, 'origin')).toBe(`${folder}/bare.git`)
  await git.push(path, { remote: 'origin', branch: 'main', setUpstream: true })
  await git.clone(`${folder}/bare.git`, { path: `${folder}/clone` })
  await files.write(`${path}/file`, 'three\n')
  await git.add(path)
  await git.commit(path, 'Second', AUTHOR)
  await git.push(path)
  await git.pull(`${folder}/clone`)
  expect(await files.read(`${folder}/clone/file`)).toBe('three\n')
})

// covers: Git.dangerouslyAuthenticate
test('credentials of git are kept in the sandbox', async ({ sandbox }) => {
  const { git, commands } = sandbox
  onTestFinished(() => commands.run('rm -f ~/.git-credentials ~/.gitconfig'))
  await git.dangerouslyAuthenticate({ username: 'me', password: 'x', host: 'git.example.com' })
  expect((await commands.run('cat ~/.git-credentials')).stdout).toContain('https://me:x@git.example.com')
})
