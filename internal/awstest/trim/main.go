// Command trim cuts AWS's published service models down to the operations that
// the test server serves, and to what checks a message: prose, examples and
// patterns of no use go.
//
//	apt-get download python3-botocore && dpkg-deb -x python3-botocore_*.deb botocore
//	go run ./internal/awstest/trim botocore/usr/lib/python3/dist-packages/botocore/data >internal/awstest/model/aws.json
//
// The data folder of botocore as Python's own package index has it is read too;
// there the models are compressed.
//
// It refuses an operation that the models do not have.
package main

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"path/filepath"
)

// service is a model's folder below the data folder, and what is kept of it.
type service struct {
	folder     string
	operations []string
}

var served = map[string]service{
	"ec2": {"ec2/2016-11-15", []string{
		"CopyImage", "CreateTags", "DeleteSnapshot", "DeregisterImage", "DescribeImageAttribute", "DescribeImages", "DescribeRegions", "DescribeSnapshots",
		"DisableImageDeregistrationProtection", "EnableImageDeprecation", "EnableImageDeregistrationProtection",
		"GetEbsEncryptionByDefault", "GetImageBlockPublicAccessState", "ModifyImageAttribute", "RegisterImage",
		"RunInstances", "DescribeInstances", "StopInstances", "TerminateInstances", "CreateImage", "GetConsoleOutput", "DescribeVolumes", "DeleteVolume",
		"ImportKeyPair", "DescribeKeyPairs", "DeleteKeyPair",
		"CreateSecurityGroup", "DescribeSecurityGroups", "AuthorizeSecurityGroupIngress", "DeleteSecurityGroup", "DescribeVpcs", "DescribeSubnets",
	}},
	"ebs": {"ebs/2019-11-02", []string{"CompleteSnapshot", "GetSnapshotBlock", "ListSnapshotBlocks", "PutSnapshotBlock", "StartSnapshot"}},
	"ssm": {"ssm/2014-11-06", []string{"AddTagsToResource", "DeleteParameter", "GetParameter", "PutParameter"}},
	"sts": {"sts/2011-06-15", []string{"AssumeRoleWithWebIdentity", "GetCallerIdentity"}},
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: trim DATA-FOLDER")
	}
	if err := trim(os.Args[1], os.Stdout); err != nil {
		log.Fatal(err)
	}
}

type document = map[string]any

func trim(data string, out io.Writer) error {
	kept := document{}
	for name, s := range served {
		text, err := read(filepath.Join(data, s.folder, "service-2.json"))
		if err != nil {
			return fmt.Errorf("the data folder of botocore: %w", err)
		}
		var whole document
		if err := json.Unmarshal(text, &whole); err != nil {
			return fmt.Errorf("the model of %s: %w", name, err)
		}
		if kept[name], err = cut(whole, s.operations); err != nil {
			return fmt.Errorf("the model of %s: %w", name, err)
		}
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", " ")
	return encoder.Encode(kept)
}

// read reads a file, or its compressed twin.
func read(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return text, err
	}
	f, err := os.Open(path + ".gz")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(unzipped)
}

// cut keeps the operations and every shape that they lead to.
func cut(whole document, names []string) (document, error) {
	all, _ := whole["operations"].(document)
	shapes, _ := whole["shapes"].(document)
	operations, kept := document{}, document{}
	for _, name := range names {
		op, ok := all[name].(document)
		if !ok {
			return nil, fmt.Errorf("there is no operation %s", name)
		}
		operations[name] = strip(op)
		if err := follow(operations[name], shapes, kept); err != nil {
			return nil, err
		}
	}
	return document{"metadata": whole["metadata"], "operations": operations, "shapes": kept}, nil
}

// follow keeps the shapes that a value refers to.
func follow(v any, shapes, kept document) error {
	switch v := v.(type) {
	case document:
		if name, ok := v["shape"].(string); ok && kept[name] == nil {
			shape, found := shapes[name]
			if !found {
				return fmt.Errorf("there is no shape %s", name)
			}
			kept[name] = strip(shape)
			if err := follow(kept[name], shapes, kept); err != nil {
				return err
			}
		}
		for _, each := range v {
			if err := follow(each, shapes, kept); err != nil {
				return err
			}
		}
	case []any:
		for _, each := range v {
			if err := follow(each, shapes, kept); err != nil {
				return err
			}
		}
	}
	return nil
}

// strip leaves prose out.
func strip(v any) any {
	switch v := v.(type) {
	case document:
		out := document{}
		for key, each := range v {
			if text, prose := each.(string); key == "documentation" && (prose || text == "") {
				continue
			}
			out[key] = strip(each)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, each := range v {
			out[i] = strip(each)
		}
		return out
	}
	return v
}
