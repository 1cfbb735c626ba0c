package action

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/org/imagebuild-action/internal/github"
	"github.com/org/imagebuild-action/internal/githubtest"
)

// TestPost: what a killed main was publishing is taken back, and what its build
// left in its folders is removed; after a main that ended by itself nothing is
// touched.
func TestPost(t *testing.T) {
	for _, ended := range []bool{false, true} {
		server := githubtest.New(t, githubtest.Options{})
		s := newStage(t)
		s.env["GITHUB_API_URL"], s.env["GITHUB_SERVER_URL"], s.env["GITHUB_REPOSITORY"] = server.APIURL(), server.URL(), server.Repository()
		s.env["INPUT_GITHUB-TOKEN"] = server.Token(githubtest.Write)
		client, err := github.New(github.Options{Token: server.Token(githubtest.Write), APIURL: server.APIURL(), Repository: server.Repository()})
		if err != nil {
			t.Fatal(err)
		}
		draft, err := client.CreateRelease(t.Context(), github.NewRelease{Tag: "v1.0.0", Name: "v1.0.0", Draft: true})
		if err != nil {
			t.Fatal(err)
		}
		content := []byte("half of a box")
		_, err = client.Upload(t.Context(), draft.UploadURL, github.File{
			Name: "golden-1.0.0-libvirt-amd64.box", SizeBytes: int64(len(content)), ContentType: "application/octet-stream", Open: opener(content),
		})
		if err != nil {
			t.Fatal(err)
		}
		s.env["STATE_"+statePublishing] = `{"tag": "v1.0.0", "version": "1.0.0", "cells": [{"name": "golden", "platform": "libvirt", "arch": "amd64"}]}`
		if ended {
			s.env["STATE_"+stateDone] = "yes"
		}
		work := filepath.Join(s.workspace, "out", ".work-killed")
		if err := os.MkdirAll(work, 0o755); err != nil {
			t.Fatal(err)
		}
		if code, obeyed, _ := s.run(StagePost); code != 0 {
			t.Errorf("exit code %d, %q", code, obeyed)
		}
		left := 0
		for _, r := range server.Releases() {
			left += len(r.Assets)
		}
		_, err = os.Stat(work)
		if kept := err == nil; kept != ended || (left == 1) != ended {
			t.Errorf("main ended by itself: %v; the work folder is there: %v; assets: %d", ended, kept, left)
		}
	}
}

func TestPostWithForeignState(t *testing.T) {
	s := newStage(t)
	s.env["STATE_"+statePublishing] = "{"
	if code, obeyed, _ := s.run(StagePost); code != 6 {
		t.Errorf("exit code %d, %q", code, obeyed)
	}
}

func opener(content []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
}
