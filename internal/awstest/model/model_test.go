package model_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/org/imagebuild-action/internal/awstest/model"
)

// TestAnswers: what the model does not have is no answer.
func TestAnswers(t *testing.T) {
	ec2, ebs := model.Services()["ec2"], model.Services()["ebs"]
	for name, tc := range map[string]struct {
		service *model.Service
		op      string
		out     model.Object
		want    string
	}{
		"good":              {ec2, "DescribeImages", model.Object{"Images": []any{model.Object{"ImageId": "ami-1", "State": "available", "Public": false}}}, ""},
		"an unknown member": {ec2, "DescribeImages", model.Object{"Images": []any{model.Object{"Colour": "blue"}}}, "no member Colour"},
		"another type":      {ec2, "DescribeImages", model.Object{"Images": []any{model.Object{"Public": "no"}}}, "wants boolean"},
		"an unknown word":   {ec2, "DescribeImages", model.Object{"Images": []any{model.Object{"State": "blue"}}}, "is none of"},
		"no list":           {ec2, "DescribeImages", model.Object{"Images": model.Object{}}, "wants list"},
		"out of range":      {ebs, "StartSnapshot", model.Object{"VolumeSize": int64(0)}, "out of the model's range"},
		"against a pattern": {ebs, "StartSnapshot", model.Object{"SnapshotId": "snap 1"}, "pattern"},
		"an answer of none": {ec2, "DeleteSnapshot", model.Object{"Return": true}, "answers nothing"},
		"a good JSON":       {ebs, "StartSnapshot", model.Object{"SnapshotId": "snap-1", "StartTime": time.Unix(1, 0), "VolumeSize": int64(1)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := tc.service.Response(tc.service.Operations[tc.op], tc.out, "1")
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
	if _, _, err := ebs.Failure(ebs.Operations["StartSnapshot"], "Colour", "", "1", nil); err == nil {
		t.Error("an error that the model does not list")
	}
	if _, _, err := ebs.Failure(ebs.Operations["StartSnapshot"], "AccessDeniedException", "", "1", map[string]string{"Reason": "MOOD"}); err == nil {
		t.Error("a reason that the model does not list")
	}
}

// What a client sends is foreign: refused or read, never a panic.
func FuzzRequest(f *testing.F) {
	f.Add("ec2", http.MethodPost, "/", "Action=RegisterImage&Version=2016-11-15&Name=a&BlockDeviceMapping.1.Ebs.SnapshotId=snap-1")
	f.Add("ebs", http.MethodPost, "/snapshots", `{"VolumeSize":1,"Tags":[{"Key":"a","Value":"b"}]}`)
	f.Add("ssm", http.MethodPost, "/", `{"Name":"/a"}`)
	f.Add("sts", http.MethodPost, "/", "Action=GetCallerIdentity&Version=2011-06-15")
	f.Fuzz(func(t *testing.T, service, method, path, body string) {
		s := model.Services()[service]
		if s == nil || !strings.HasPrefix(path, "/") || strings.ContainsAny(path+method, " \r\n\t\x00%#?") || method == "" {
			return
		}
		r, err := http.NewRequest(http.MethodPost, "http://127.0.0.1/", strings.NewReader(body))
		if err != nil {
			return
		}
		r.Method, r.URL.Path = method, path
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if service == "ssm" {
			r.Header.Set("Content-Type", "application/x-amz-json-1.1")
			r.Header.Set("X-Amz-Target", "AmazonSSM.GetParameter")
		}
		op, input, err := s.Request(r, []byte(body))
		if err == nil && (op == nil || input == nil) {
			t.Errorf("neither refused nor read: %v, %v", op, input)
		}
	})
}
