package vm

import (
	"testing"
)

func TestProbe(t *testing.T) { a, why, err := ChooseAccel(Auto); t.Log(a, why, err) }

func TestStartStop(t *testing.T) {
	m, err := Start(t.Context(), Config{Hardware: hw(), SerialLog: t.TempDir() + "/s"})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(m.Command(), m.SSHAddr(), m.Accel, m.AccelReason)
	p := t.TempDir() + "/x.png"
	t.Log(m.Screendump(t.Context(), p))
	if err := m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Log(m.Err())
}
