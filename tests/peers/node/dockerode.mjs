// What dockerode does, a line for each operation.
import Docker from 'dockerode';
import { PassThrough } from 'node:stream';

const image = process.env.PEERS_IMAGE;
const docker = new Docker({ socketPath: process.env.DOCKER_HOST.replace('unix://', '') });

async function say(op, call) {
  let answer;
  try {
    answer = await call();
  } catch (error) {
    answer = `refused: ${error.statusCode}: ${error.json?.message ?? error.message}`;
  }
  console.log(JSON.stringify({ op, answer: answer ?? null }));
}

function collect(stream, end = stream) {
  return new Promise((resolve, reject) => {
    const out = [new PassThrough(), new PassThrough()], said = ['', ''];
    out.forEach((one, i) => one.on('data', (bytes) => (said[i] += bytes)));
    docker.modem.demuxStream(stream, ...out);
    end.on('end', () => resolve(said));
    end.on('error', reject);
  });
}

async function run(command, options = {}) {
  const container = await docker.createContainer({ Image: image, Cmd: command, Labels: { peers: 'yes' }, ...options });
  const stream = await container.attach({ stream: true, stdout: true, stderr: true });
  const said = collect(stream);
  await container.start();
  const { StatusCode } = await container.wait();
  const all = await said;
  await container.remove();
  return [StatusCode, ...all];
}

for (const old of await docker.listContainers({ all: true, filters: { label: ['peers'] } }))
  await docker.getContainer(old.Id).remove({ force: true });
await say('ping', async () => (await docker.ping()).toString());
await say('version', async () => (await docker.version()).ApiVersion);
await say('image', async () => (await docker.getImage(image).inspect()).RepoTags);
await say('run', () => run(['sh', '-c', 'echo out; echo err >&2; exit 5']));
await say('environment', () => run(['env'], { Env: ['A=b'] }).then(([code, out]) => [code, out.includes('A=b\n')]));
await say('no image', () => docker.createContainer({ Image: 'peers-none' }));
await say('no program', () => run(['nothing-there']));
for (const left of await docker.listContainers({ all: true, filters: { label: ['peers'] } }))
  await docker.getContainer(left.Id).remove({ force: true });

const one = await docker.createContainer({
  Image: image, name: 'peers-node', Cmd: ['sleep', '1000'], Labels: { peers: 'yes' }, ExposedPorts: { '80/tcp': {} },
  HostConfig: { PortBindings: { '80/tcp': [{ HostPort: '28472' }] }, Memory: 64 << 20 } });
await say('start', async () => (await one.start()).length);
await say('start again', () => one.start());
await say('inspect', async () => {
  const { State, HostConfig, NetworkSettings } = await one.inspect();
  return [State.Status, HostConfig.Memory, NetworkSettings.Ports];
});
await say('exec', async () => {
  const exec = await one.exec({ Cmd: ['sh', '-c', 'cat; exit 6'], AttachStdin: true, AttachStdout: true });
  const stream = await exec.start({ hijack: true, stdin: true });
  const said = collect(stream);
  stream.write('spoken');
  stream.end();
  const all = await said;
  return [all[0], (await exec.inspect()).ExitCode];
});
await say('exec in the background', async () => {
  const exec = await one.exec({ Cmd: ['touch', '/touched'] });
  await exec.start({ Detach: true });
  return true;
});
await say('resize', async () => {
  const exec = await one.exec({ Cmd: ['cat'], Tty: true, AttachStdin: true, AttachStdout: true });
  const stream = await exec.start({ hijack: true, stdin: true });
  await exec.resize({ h: 40, w: 100 });
  stream.end();
  return true;
});
await say('list', async () => (await docker.listContainers({ filters: { name: ['peers-node'] } })).map((c) => [c.Names, c.State, c.Ports]));
await say('stats', async () => Object.keys(await one.stats({ stream: false })).sort());
await say('stop', async () => (await one.stop({ t: 0 })).length);
await say('stop again', () => one.stop({ t: 0 }));
await say('logs', async () => (await one.logs({ stdout: true })).toString());
await say('remove', async () => (await one.remove()).length);
await say('gone', () => one.inspect());
await say('volume', async () => (await docker.createVolume({ Name: 'peers-node' })).Name ?? 'made');
await say('volume gone', async () => (await docker.getVolume('peers-node').remove()).length);
await say('network', async () => typeof (await docker.createNetwork({ Name: 'peers-node' })).id);
await say('the same network', () => docker.createNetwork({ Name: 'peers-node' }));
await say('network gone', async () => (await docker.getNetwork('peers-node').remove()).length);
await say('events', async () => {
  const stream = await docker.getEvents({ filters: { type: ['container'], event: ['start', 'die'], label: ['peers'] } });
  const seen = [];
  const both = new Promise((resolve) => stream.on('data', (bytes) => {
    for (const line of bytes.toString().split('\n').filter(Boolean)) seen.push(JSON.parse(line).Action);
    if (seen.length >= 2) resolve();
  }));
  await run(['true']);
  await both;
  stream.destroy();
  return seen;
});
process.exit(0);  // streams that were given up keep it alive
