import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { BuildError, defaultBuildLogger, Template, waitForFile, waitForPort, waitForProcess, waitForTimeout, waitForURL } from 'e2b'
import { create, forgetTemplate, uniqueName, waitUntil } from './fixture.mjs'

const IMAGE = 'hearth/template-base'
const SIZE = { cpuCount: 1, memoryMB: 512 }

const newTemplate = () => {
  const name = uniqueName()
  forgetTemplate(name)
  return name
}

const newFolder = () => {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-sdk-js-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  return folder
}

// covers: Template.build, Template.fromImage, Template.copy, Template.copyItems, Template.runCmd, Template.setEnvs, Template.setWorkdir
// covers: Template.setUser, Template.makeDir, Template.makeSymlink, Template.rename, Template.remove, Template.setStartCmd
// covers: waitForPort, defaultBuildLogger
test('every step of a build', async () => {
  const [name, folder] = [newTemplate(), newFolder()]
  writeFileSync(join(folder, 'one.txt'), 'one')
  writeFileSync(join(folder, 'two.txt'), 'two')
  const template = Template({ fileContextPath: folder })
    .fromImage(IMAGE)
    .setUser('root')
    .copy('one.txt', '/srv/')
    .copyItems([{ src: 'two.txt', dest: '/srv/files/', mode: 0o644 }])
    .runCmd('useradd -m someone')
    .makeDir('/srv/made', { mode: 0o755 })
    .makeSymlink('/srv/files/two.txt', '/srv/link')
    .rename('/srv/one.txt', '/srv/renamed')
    .runCmd('touch /srv/superfluous')
    .remove('/srv/superfluous')
    .setEnvs({ COLOUR: 'blue green' })
    .setWorkdir('/srv/made')
    .setUser('user')
    .runCmd('echo $COLOUR $(id -un) > /tmp/second')
    .setStartCmd('python3 -m http.server --directory /tmp 8765', waitForPort(8765))
  const lines = []
  const log = defaultBuildLogger()
  const info = await Template.build(template, name, { ...SIZE, onBuildLogs: (line) => (lines.push(line), log(line)) })
  expect(info).toMatchObject({ name, templateId: expect.any(String), buildId: expect.any(String) })
  expect(lines.length).toBeGreaterThan(10)
  const said = (await (await create(name)).commands.run('cat /tmp/second /srv/link; ls /srv; curl -sI http://127.0.0.1:8765/ | head -1')).stdout
  expect(said).toMatch(/^blue green user\ntwofiles\nlink\nmade\nrenamed\nHTTP\/1.0 200 OK/)
})

// covers: Template.buildInBackground, Template.getBuildStatus
test('build in the background', async () => {
  const name = newTemplate()
  const info = await Template.buildInBackground(Template().fromImage(IMAGE).skipCache().runCmd('for i in $(seq 120); do echo line $i; done'), name, SIZE)
  const last = await waitUntil(async () => {
    const status = await Template.getBuildStatus(info)
    return ['ready', 'error'].includes(status.status) && status
  }, 'the build’s end')
  expect(last.status).toBe('ready')
  const seen = []
  for (;;) {
    const { logEntries } = await Template.getBuildStatus(info, { logsOffset: seen.length })
    if (logEntries.length === 0) break
    seen.push(...logEntries.map((entry) => entry.message.trim()))
  }
  expect(seen.filter((line) => line.startsWith('line '))).toHaveLength(120)
})

// covers: Template.build
test('a build that fails', async () => {
  const name = newTemplate()
  const failed = Template.build(Template().fromImage(IMAGE).runCmd('echo it went wrong >&2; exit 3'), name, SIZE)
  await expect(failed).rejects.toBeInstanceOf(BuildError)
})

// covers: Template.skipCache, Template.setReadyCmd, waitForFile
test('what is ready is told by a command', async () => {
  const name = newTemplate()
  await Template.build(Template().skipCache().fromImage(IMAGE).runCmd('touch /tmp/made').setReadyCmd(waitForFile('/tmp/made')), name, { ...SIZE, skipCache: true })
  expect(await (await create(name)).files.exists('/tmp/made')).toBe(true)
})

// covers: Template.fromTemplate
test('a template of a template', async () => {
  const name = newTemplate()
  await Template.build(Template().fromTemplate('base').runCmd('echo more > /home/user/more'), name, SIZE)
  expect(await (await create(name)).files.read('/home/user/more')).toBe('more\n')
})

// covers: Template.fromDockerfile
test('from a Dockerfile', async () => {
  const [name, folder] = [newTemplate(), newFolder()]
  writeFileSync(join(folder, 'file'), 'copied')
  const dockerfile = `FROM ${IMAGE}\nENV MARK=docker\nWORKDIR /srv\nCOPY file file\nRUN echo $MARK > /srv/mark\n`
  await Template.build(Template({ fileContextPath: folder }).fromDockerfile(dockerfile), name, SIZE)
  const { files } = await create(name)
  expect([await files.read('/srv/file'), await files.read('/srv/mark')]).toEqual(['copied', 'docker\n'])
})

// covers: Template.exists, Template.aliasExists
test('exists', async () => {
  expect([await Template.exists('base'), await Template.aliasExists('base')]).toEqual([true, true])
  expect([await Template.exists('hearth-no-such'), await Template.aliasExists('hearth-no-such')]).toEqual([false, false])
})

// covers: Template.assignTags, Template.removeTags, Template.getTags
test('tags', async () => {
  const name = newTemplate()
  const info = await Template.build(Template().fromImage(IMAGE), name, { ...SIZE, tags: ['v1'] })
  expect(await Template.assignTags(`${name}:v1`, ['stable', 'old'])).toMatchObject({ buildId: info.buildId })
  await Template.removeTags(name, 'old')
  const tags = await Template.getTags(name)
  expect(tags.map((tag) => [tag.tag, tag.buildId]).sort()).toEqual([['stable', info.buildId], ['v1', info.buildId]])
  expect(await (await create(`${name}:stable`)).isRunning()).toBe(true)
})

// covers: Template.gitClone
test('a clone', async () => {
  const name = newTemplate()
  const template = Template()
    .fromImage(IMAGE)
    .setUser('root')
    .runCmd('git init -q -b main /srv/origin && cd /srv/origin && echo cloned > file && git add file && git -c user.name=a -c user.email=a@b commit -qm one')
    .gitClone('file:///srv/origin', '/srv/clone', { branch: 'main', depth: 1 })
  await Template.build(template, name, SIZE)
  expect(await (await create(name)).files.read('/srv/clone/file')).toBe('cloned\n')
})

// covers: Template.toJSON, Template.toDockerfile, Template.aptInstall, Template.bunInstall, Template.pipInstall, Template.npmInstall
test('what is installed is sent as commands', async () => {
  const template = Template().fromImage(IMAGE).aptInstall(['curl']).bunInstall('left-pad').pipInstall('six').npmInstall('left-pad')
  const json = await Template.toJSON(template)
  for (const word of ['apt-get', 'bun', 'pip install', 'npm install']) expect(json).toContain(word)
  expect(Template.toDockerfile(template)).toContain(`FROM ${IMAGE}\n`)
})

// covers: Template.fromDebianImage, Template.fromUbuntuImage, Template.fromFedoraImage, Template.fromAlpineImage, Template.fromArchImage
// covers: Template.fromPythonImage, Template.fromNodeImage, Template.fromBunImage, Template.fromBaseImage
test('names of images', async () => {
  const images = { Debian: 'debian:', Ubuntu: 'ubuntu:', Fedora: 'fedora:', Alpine: 'alpine:', Arch: 'archlinux:', Python: 'python:', Node: 'node:', Bun: 'oven/bun:', Base: 'e2bdev/base' }
  for (const [kind, image] of Object.entries(images)) {
    expect(JSON.parse(await Template.toJSON(Template()[`from${kind}Image`]())).fromImage).toContain(image)
  }
})

// covers: waitForURL, waitForProcess, waitForTimeout, ReadyCmd.getCmd
test('ready commands are the shell’s', async () => {
  const sandbox = await create()
  await sandbox.commands.run('cd /usr && python3 -m http.server 8766', { background: true })
  for (const check of [waitForURL('http://127.0.0.1:8766/'), waitForProcess('python3'), waitForTimeout(1000)]) {
    const holds = async () => (await sandbox.commands.run(`(${check.getCmd()}) >/dev/null && echo yes || echo no`)).stdout === 'yes\n'
    await waitUntil(holds, check.getCmd())
  }
})

// covers: Template.fromGCPRegistry
test('an image of a private registry', async () => {
  const name = newTemplate()
  const image = `${process.env.HEARTH_REGISTRY}/mine/debian:1`
  const [username, password] = process.env.HEARTH_REGISTRY_LOGIN.split(':')
  await Template.build(Template().fromImage(image, { username, password }), name, SIZE)
  await Template.build(Template().fromGCPRegistry(image, { serviceAccountJSON: {} }), name, SIZE)
  const sandbox = await create(name)
  expect((await sandbox.commands.run('id -un')).stdout).toBe('user\n')
})

// covers: Template.fromAWSRegistry
// not offered: 400: keys of AWS are not taken, but the token that `aws ecr get-login-password` prints is
test('keys of AWS are refused', async () => {
  const template = Template().fromAWSRegistry('1.dkr.ecr.us-east-1.amazonaws.com/x', { accessKeyId: 'a', secretAccessKey: 'b', region: 'us-east-1' })
  await expect(Template.build(template, newTemplate(), SIZE)).rejects.toThrow(/get-login-password/)
})

// covers: Template.addMcpServer, Template.betaDevContainerPrebuild, Template.betaSetDevContainerStart
// not offered: the SDK itself refuses where the template is not E2B's own of that name
test('what wants templates of E2B’s own', () => {
  const template = () => Template().fromImage(IMAGE)
  for (const ask of [() => template().addMcpServer('exa'), () => template().betaDevContainerPrebuild('/srv'), () => template().betaSetDevContainerStart('/srv')]) {
    expect(ask).toThrow(BuildError)
  }
})
