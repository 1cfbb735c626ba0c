package vmx_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/format/vmx"
)

func TestWritten(t *testing.T) {
	var d vmx.Dictionary
	d.Set("displayName", `say "hi" | größe`+"\n")
	d.Set("numvcpus", "1")
	d.Set("NumVCPUs", "2") // keeps its place and first spelling
	var out bytes.Buffer
	n, err := d.WriteTo(&out)
	want := ".encoding = \"UTF-8\"\ndisplayName = \"say |22hi|22 |7C größe|0A\"\nnumvcpus = \"2\"\n"
	if err != nil || out.String() != want || n != int64(len(want)) {
		t.Fatalf("%q, %v", out.String(), err)
	}
	back, err := vmx.Parse(&out)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range d.Keys() {
		wrote, _ := d.Get(key)
		if read, ok := back.Get(strings.ToUpper(key)); !ok || read != wrote {
			t.Errorf("%s: %q became %q", key, wrote, read)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	for _, pair := range [][2]string{{"", "x"}, {"a b", "x"}, {"a=b", "x"}, {"#a", "x"}, {"a", "\xff"}} {
		var d vmx.Dictionary
		d.Set(pair[0], pair[1])
		if _, err := d.WriteTo(&bytes.Buffer{}); err == nil {
			t.Errorf("%q was written", pair)
		}
	}
}

func TestParse(t *testing.T) {
	foreign := "\xef\xbb\xbf#!/usr/bin/vmware\r\n.encoding = \"windows-1252\"\r\n\r\nscsi0.present = \"TRUE\"\r\n" +
		"  memsize=512\nsata0.present = \"FALSE\"\nmemsize = \"1024\"\nempty = \"\"\n"
	d, err := vmx.Parse(strings.NewReader(foreign))
	if err != nil {
		t.Fatal(err)
	}
	if m, _ := d.Get("MemSize"); m != "1024" || !d.True("scsi0.present") || d.True("sata0.present") || d.True("nvme0.present") {
		t.Errorf("%v", d)
	}
	for _, text := range []string{
		"nonsense", "a = \"b", "a = \"|2\"", "a = \"|zz\"", "a b = \"c\"", "a = \"\xff\"", ".encoding = \"Shift_JIS\"\na = \"\u30a2\"",
		strings.Repeat("a = \"b\"\n", 1<<18),
	} {
		if _, err := vmx.Parse(strings.NewReader(text)); fault.KindOf(err) != fault.Input {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a = \"b|22\"\n")
	f.Add(".encoding = \"UTF-8\"\n# comment\na=1\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := vmx.Parse(strings.NewReader(text))
		if err != nil {
			if fault.KindOf(err) != fault.Input {
				t.Error(err)
			}
			return
		}
		var first, second bytes.Buffer
		if _, err := d.WriteTo(&first); err != nil {
			return // an escape for a byte that is no UTF-8
		}
		again, err := vmx.Parse(bytes.NewReader(first.Bytes()))
		if err != nil {
			t.Fatalf("%q: %v", first.String(), err)
		}
		if _, err := again.WriteTo(&second); err != nil || first.String() != second.String() {
			t.Errorf("%q became %q (%v)", first.String(), second.String(), err)
		}
	})
}
