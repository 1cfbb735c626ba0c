package entry

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/ssh"
	"github.com/org/imagebuild-action/internal/testkit"
)

func TestWay(t *testing.T) {
	seed := bytes.Repeat([]byte{7}, 32)
	key, _, err := ssh.SeedKey(seed)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		access Access
		seed   []byte
		user   string
		oem    int
		err    bool
	}{
		"nothing":          {Access{}, nil, "root", 1, false},
		"again":            {Access{}, seed, "root", 1, false},
		"key":              {Access{Keys: []gossh.Signer{key}}, nil, "root", 0, false},
		"user and key":     {Access{User: "ops", Keys: []gossh.Signer{key}}, nil, "ops", 0, false},
		"user without key": {Access{User: "ops"}, nil, "", 0, true},
		"bad seed":         {Access{}, seed[1:], "", 0, true},
	} {
		way, err := test.access.Way(t.Context(), t.TempDir(), test.seed, Credentials)
		if (err != nil) != test.err || way.User != test.user || len(way.OEMStrings) != test.oem {
			t.Errorf("%s: %+v, %v", name, way, err)
		}
		if test.seed != nil && err == nil && !bytes.Equal(way.Keys[0].PublicKey().Marshal(), key.PublicKey().Marshal()) {
			t.Errorf("%s: another key", name)
		}
	}
}

func TestCloudInitSeed(t *testing.T) {
	way, err := Access{CloudInit: true}.Way(t.Context(), t.TempDir(), nil, Credentials)
	if fault.KindOf(err) == fault.Environment && os.Getenv("REQUIRE_TOOLS") != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	volume, err := os.ReadFile(way.SeedISO)
	if err != nil {
		t.Fatal(err)
	}
	// The volume's name is at 40 of the primary descriptor, sector 16 of ISO 9660.
	if label := strings.TrimSpace(string(volume[16*2048+40 : 16*2048+72])); label != "cidata" {
		t.Errorf("label %q", label)
	}
	line := strings.Fields(string(gossh.MarshalAuthorizedKey(way.Keys[0].PublicKey())))[1]
	if !bytes.Contains(volume, []byte(line)) {
		t.Error("the key is not in the seed")
	}
}

// TestForgetKeys runs what takes our lines away, on a file of its own.
func TestForgetKeys(t *testing.T) {
	testkit.Tool(t, "sed")
	_, ours, err := ssh.SeedKey(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	const theirs = "ssh-ed25519 AAAAtheirs ops@imagebuild.example\n"
	for name, test := range map[string]struct{ before, after string }{
		"both":       {theirs + ours, theirs},
		"ours alone": {ours, ""},
		"theirs":     {theirs, theirs},
	} {
		file := filepath.Join(t.TempDir(), "authorized_keys")
		if err := os.WriteFile(file, []byte(test.before), 0o600); err != nil {
			t.Fatal(err)
		}
		script := strings.Replace(forgetKeys, "/root/.ssh/authorized_keys", file, 1)
		for range 2 { // and again, where nothing is left
			if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", name, err, out)
			}
		}
		got, err := os.ReadFile(file)
		if string(got) != test.after || (err != nil) != (test.after == "") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestForgetNetwork runs what takes cloud-init's network away, on a folder.
func TestForgetNetwork(t *testing.T) {
	for name, test := range map[string]struct {
		config string // of cloud-init
		there  string // whether cloud-init is
		stays  bool
	}{
		"cloud-init writes it again":  {"# network: {config: disabled}\n", "true", false},
		"it was told to leave it":     {"network: {config: disabled}\n", "true", true},
		"told so by an installer":     {"network:\n  config: 'disabled'\n", "true", true},
		"cloud-init is there no more": {"", "false", true},
	} {
		etc := t.TempDir()
		ours, theirs := filepath.Join(etc, "netplan/50-cloud-init.yaml"), filepath.Join(etc, "netplan/01-netcfg.yaml")
		for path, text := range map[string]string{ours: "network:\n", theirs: "network:\n", filepath.Join(etc, "cloud/cloud.cfg.d/99-x.cfg"): test.config} {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		script := strings.ReplaceAll(strings.Replace(forgetNetwork, "command -v cloud-init >/dev/null", test.there, 1), "/etc/", etc+"/")
		if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
		_, err := os.Stat(ours)
		_, errTheirs := os.Stat(theirs)
		if (err == nil) != test.stays || errTheirs != nil {
			t.Errorf("%s: %v, %v", name, err, errTheirs)
		}
	}
}

// The wait for a guest that restarts ends with its machine, and with the time.
func TestAgainEnds(t *testing.T) {
	ended := make(chan struct{})
	close(ended)
	cause := errors.New("no answer")
	enter := func(context.Context) (*ssh.Client, error) { return nil, cause }
	if _, err := Again(t.Context(), "before", ended, enter); !errors.Is(err, cause) || !errors.Is(err, errEnded) {
		t.Errorf("the machine ended: %v", err)
	}
	late := errors.New("too late")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, late)
	defer cancel()
	if _, err := Again(ctx, "before", nil, enter); !errors.Is(err, cause) || !errors.Is(err, late) {
		t.Errorf("the time is over: %v", err)
	}
}
