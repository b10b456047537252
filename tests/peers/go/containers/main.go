// What testcontainers for Go does, a line for each operation.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"
)

func say(op string, answer any, err error) {
	if err != nil {
		answer = "failed: " + err.Error()
	}
	line, _ := json.Marshal(map[string]any{"op": op, "answer": answer})
	fmt.Println(string(line))
}

func get(url string) (string, error) {
	for i := 0; ; i++ {
		answer, err := http.Get(url)
		if err == nil {
			defer answer.Body.Close()
			body, err := io.ReadAll(answer.Body)
			return string(body), err
		}
		if i == 100 {
			return "", err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func main() {
	ctx := context.Background()
	web, err := testcontainers.GenericContainer(ctx, testcontainers.GenericContainerRequest{
		ContainerRequest: testcontainers.ContainerRequest{
			Image: os.Getenv("PEERS_IMAGE"), ExposedPorts: []string{"80/tcp"}, Env: map[string]string{"A": "b"},
			Cmd:        []string{"sh", "-c", "mkdir /w; echo served > /w/index.html; echo ready; exec httpd -f -p 80 -h /w"},
			WaitingFor: wait.ForLog("ready"),
		},
		Started: true,
	})
	if err != nil {
		say("start", nil, err)
		os.Exit(1)
	}
	endpoint, err := web.PortEndpoint(ctx, "80/tcp", "http")
	if err != nil {
		say("endpoint", nil, err)
	}
	body, err := get(endpoint + "/index.html")
	say("port", body, err)
	code, out, err := web.Exec(ctx, []string{"sh", "-c", "echo $A; exit 3"})
	said, _ := io.ReadAll(out)
	say("exec", []any{code, string(said)}, err)
	say("copy", nil, web.CopyToContainer(ctx, []byte("copied\n"), "/copied", 0o644))
	say("ended", nil, web.Terminate(ctx))
}
