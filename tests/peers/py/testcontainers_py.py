"""What testcontainers for Python does, a line for each operation."""
import json
import os
import urllib.request

from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.waiting_utils import wait_for_logs

IMAGE = os.environ["PEERS_IMAGE"]


def say(op, answer):
    print(json.dumps({"op": op, "answer": answer}), flush=True)


def get(url):
    for _ in range(100):
        try:
            return urllib.request.urlopen(url, timeout=5).read().decode()
        except OSError as error:
            failure = error
            __import__("time").sleep(0.1)
    return str(failure)


serve = "mkdir /w; echo served > /w/index.html; echo ready; exec httpd -f -p 80 -h /w"
with DockerContainer(IMAGE).with_command(["sh", "-c", serve]).with_exposed_ports(80).with_env("A", "b") as web:
    wait_for_logs(web, "ready", timeout=60)
    say("log", "seen")
    say("port", get(f"http://{web.get_container_host_ip()}:{web.get_exposed_port(80)}/index.html"))
    code, out = web.exec(["sh", "-c", "echo $A"])
    say("exec", [code, out.decode()])
    say("logs", [part.decode() for part in web.get_logs()])
with Network() as network:
    with DockerContainer(IMAGE).with_command("sleep 1000").with_network(network).with_network_aliases("named") as one:
        say("network", sorted(len(name) > 0 for name in one.get_wrapped_container().attrs["NetworkSettings"]["Networks"]))
say("ended", True)
