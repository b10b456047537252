// What testcontainers for Node does, a line for each operation.
import { GenericContainer, Network, Wait } from 'testcontainers';

const image = process.env.PEERS_IMAGE;
const say = (op, answer) => console.log(JSON.stringify({ op, answer }));

async function get(url) {
  for (let i = 0; ; i++) {
    try {
      return await (await fetch(url)).text();
    } catch (error) {
      if (i == 100) return String(error);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

const network = await new Network().start();
const web = await new GenericContainer(image)
  .withCommand(['sh', '-c', 'mkdir /w; echo served > /w/index.html; echo ready; exec httpd -f -p 80 -h /w'])
  .withExposedPorts(80).withEnvironment({ A: 'b' }).withNetwork(network).withNetworkAliases('named')
  .withCopyContentToContainer([{ content: 'copied\n', target: '/copied' }])
  .withWaitStrategy(Wait.forLogMessage('ready')).start();
say('port', await get(`http://${web.getHost()}:${web.getMappedPort(80)}/index.html`));
const done = await web.exec(['sh', '-c', 'cat /copied; echo $A; exit 3']);
say('exec', [done.exitCode, done.output]);
await web.stop();
await network.stop();
say('ended', true);
process.exit(0);
