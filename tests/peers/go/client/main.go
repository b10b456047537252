// What Docker's own client for Go does, a line for each operation.
package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"
)

var (
	ctx = context.Background()
	box = os.Getenv("PEERS_IMAGE")
	api *client.Client
)

func say(op string, answer any, err error) {
	if err != nil {
		answer = "refused: " + err.Error()
	}
	line, _ := json.Marshal(map[string]any{"op": op, "answer": answer})
	fmt.Println(string(line))
}

func run(name string, command ...string) (any, error) {
	made, err := api.ContainerCreate(ctx, &container.Config{Image: box, Cmd: command, Labels: map[string]string{"peers": "yes"}}, nil, nil, nil, name)
	if err != nil {
		return nil, err
	}
	defer api.ContainerRemove(ctx, made.ID, container.RemoveOptions{Force: true})
	attached, err := api.ContainerAttach(ctx, made.ID, container.AttachOptions{Stream: true, Stdout: true, Stderr: true})
	if err != nil {
		return nil, err
	}
	defer attached.Close()
	ended, failed := api.ContainerWait(ctx, made.ID, container.WaitConditionNextExit)
	if err := api.ContainerStart(ctx, made.ID, container.StartOptions{}); err != nil {
		return nil, err
	}
	var out, errors bytes.Buffer
	stdcopy.StdCopy(&out, &errors, attached.Reader)
	select {
	case end := <-ended:
		return []any{end.StatusCode, out.String(), errors.String()}, nil
	case err := <-failed:
		return nil, err
	}
}

func main() {
	var err error
	if api, err = client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation()); err != nil {
		panic(err)
	}
	all, _ := api.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", "peers"))})
	for _, old := range all {
		api.ContainerRemove(ctx, old.ID, container.RemoveOptions{Force: true})
	}
	ping, err := api.Ping(ctx)
	say("ping", []string{ping.APIVersion, ping.OSType, string(ping.BuilderVersion)}, err)
	version, err := api.ServerVersion(ctx)
	say("version", version.APIVersion, err)
	say("negotiated", api.ClientVersion(), nil)
	images, err := api.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("reference", box))})
	say("images", len(images), err)
	answer, err := run("peers-go", "sh", "-c", "echo out; echo err >&2; exit 7")
	say("run", answer, err)
	_, err = api.ContainerInspect(ctx, "peers-none")
	say("not there", client.IsErrNotFound(err), nil)

	made, err := api.ContainerCreate(ctx, &container.Config{Image: box, Cmd: []string{"sleep", "1000"}, Labels: map[string]string{"peers": "yes"}}, nil, nil, nil, "peers-go")
	say("create", made.Warnings, err)
	say("start", nil, api.ContainerStart(ctx, made.ID, container.StartOptions{}))
	inspected, err := api.ContainerInspect(ctx, made.ID)
	say("inspect", []any{inspected.Name, inspected.State.Status, inspected.Config.Cmd}, err)
	exec, err := api.ContainerExecCreate(ctx, made.ID, container.ExecOptions{Cmd: []string{"cat"}, AttachStdin: true, AttachStdout: true})
	say("exec", len(exec.ID) > 0, err)
	if stream, err := api.ContainerExecAttach(ctx, exec.ID, container.ExecAttachOptions{}); err == nil {
		stream.Conn.Write([]byte("spoken"))
		stream.CloseWrite()
		var out bytes.Buffer
		stdcopy.StdCopy(&out, io.Discard, stream.Reader)
		stream.Close()
		end, err := api.ContainerExecInspect(ctx, exec.ID)
		say("exec said", []any{out.String(), end.ExitCode}, err)
	} else {
		say("exec said", nil, err)
	}
	var archive bytes.Buffer
	put := tar.NewWriter(&archive)
	put.WriteHeader(&tar.Header{Name: "put.txt", Mode: 0o600, Size: 4})
	put.Write([]byte("put\n"))
	put.Close()
	say("put", nil, api.CopyToContainer(ctx, made.ID, "/", &archive, container.CopyToContainerOptions{}))
	got, stat, err := api.CopyFromContainer(ctx, made.ID, "/put.txt")
	if err == nil {
		io.Copy(io.Discard, got)
		got.Close()
	}
	say("get", []any{stat.Name, stat.Size, stat.Mode.String()}, err)
	say("pause", nil, api.ContainerPause(ctx, made.ID))
	say("unpause", nil, api.ContainerUnpause(ctx, made.ID))
	none := 0
	say("restart", nil, api.ContainerRestart(ctx, made.ID, container.StopOptions{Timeout: &none}))
	say("kill", nil, api.ContainerKill(ctx, made.ID, "KILL"))
	ended, failed := api.ContainerWait(ctx, made.ID, container.WaitConditionNotRunning)
	select {
	case end := <-ended:
		say("wait", end.StatusCode, nil)
	case err := <-failed:
		say("wait", nil, err)
	}
	say("remove", nil, api.ContainerRemove(ctx, made.ID, container.RemoveOptions{}))
	made2, err := api.VolumeCreate(ctx, volume.CreateOptions{Name: "peers-go"})
	say("volume", made2.Driver, err)
	say("volume gone", nil, api.VolumeRemove(ctx, "peers-go", false))
	_, err = api.NetworkCreate(ctx, "peers-go", network.CreateOptions{})
	say("network", nil, err)
	say("network gone", nil, api.NetworkRemove(ctx, "peers-go"))
	_, err = api.ImagePull(ctx, "127.0.0.1:1/none", image.PullOptions{})
	say("pull from nowhere", nil, err)
	limited, cancel := context.WithTimeout(ctx, 2*time.Second)
	_, waiting := api.Events(limited, events.ListOptions{})
	<-waiting
	cancel()
	say("events until the limit", true, nil)
}
