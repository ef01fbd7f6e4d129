// Command validate reads Tekton documents, strictly, and checks them as Tekton's admission webhook does. With --json it prints the one
// document of a file, its defaults filled in.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"github.com/tektoncd/pipeline/pkg/apis/pipeline/v1beta1"
	"knative.dev/pkg/apis"
	"sigs.k8s.io/yaml"
)

type document interface {
	SetDefaults(ctx context.Context)
	Validate(ctx context.Context) *apis.FieldError
}

func kind(text []byte) (document, error) {
	var head struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal(text, &head); err != nil {
		return nil, err
	}
	switch head.APIVersion + " " + head.Kind {
	case "tekton.dev/v1 Task":
		return &v1.Task{}, nil
	case "tekton.dev/v1 TaskRun":
		return &v1.TaskRun{}, nil
	case "tekton.dev/v1 Pipeline":
		return &v1.Pipeline{}, nil
	case "tekton.dev/v1 PipelineRun":
		return &v1.PipelineRun{}, nil
	case "tekton.dev/v1beta1 StepAction":
		return &v1beta1.StepAction{}, nil
	}
	return nil, fmt.Errorf("not a document of Tekton: %s %s", head.APIVersion, head.Kind)
}

func read(text []byte) (document, error) {
	found, err := kind(text)
	if err != nil {
		return nil, err
	}
	if err := yaml.UnmarshalStrict(text, found); err != nil {
		return nil, err
	}
	ctx := context.Background()
	found.SetDefaults(ctx)
	// A nil pointer in an error would not be nil.
	if err := found.Validate(ctx); err != nil {
		return nil, err
	}
	return found, nil
}

func file(name string) []byte {
	text, err := os.ReadFile(name)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return text
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "--json" {
		found, err := read(file(os.Args[2]))
		if err == nil {
			err = json.NewEncoder(os.Stdout).Encode(found)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	failed := 0
	for _, name := range os.Args[1:] {
		for number, part := range strings.Split("\n"+string(file(name)), "\n---\n") {
			if strings.TrimSpace(part) == "" {
				continue
			}
			if _, err := read([]byte(part)); err != nil {
				fmt.Printf("%s, document %d: %v\n", name, number+1, err)
				failed++
			}
		}
	}
	if failed > 0 {
		os.Exit(1)
	}
}
