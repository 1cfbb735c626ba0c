package guest

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Account is one line of passwd(5).
type Account struct {
	Name     string
	UID, GID int
	Home     string
	Shell    string
}

// Group is one line of group(5).
type Group struct {
	Name    string
	GID     int
	Members []string
}

// maxAccountLine bounds the memory that a hostile passwd file can take.
const maxAccountLine = 1 << 20

// ReadAccounts parses passwd(5). Lines that are not accounts are passed over,
// as the C library does.
func ReadAccounts(passwd io.Reader) ([]Account, error) {
	var accounts []Account
	err := eachRecord(passwd, 7, func(f []string) {
		uid, errUID := strconv.ParseUint(f[2], 10, 31)
		gid, errGID := strconv.ParseUint(f[3], 10, 31)
		if errUID == nil && errGID == nil {
			accounts = append(accounts, Account{Name: f[0], UID: int(uid), GID: int(gid), Home: f[5], Shell: f[6]})
		}
	})
	return accounts, err
}

// ReadGroups parses group(5).
func ReadGroups(group io.Reader) ([]Group, error) {
	var groups []Group
	err := eachRecord(group, 4, func(f []string) {
		if gid, err := strconv.ParseUint(f[2], 10, 31); err == nil {
			members := strings.FieldsFunc(f[3], func(r rune) bool { return r == ',' })
			groups = append(groups, Group{Name: f[0], GID: int(gid), Members: members})
		}
	})
	return groups, err
}

func eachRecord(r io.Reader, fields int, fn func([]string)) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxAccountLine)
	for lines.Scan() {
		if f := strings.Split(lines.Text(), ":"); len(f) == fields && f[0] != "" {
			fn(f)
		}
	}
	return lines.Err()
}

// Owner turns the owner and group of a File into numbers, with the guest's own
// accounts. See File for what empty means.
func Owner(accounts []Account, groups []Group, owner, group string) (uid, gid int, err error) {
	if n, errNumber := strconv.ParseUint(owner, 10, 31); errNumber == nil {
		uid = int(n)
		for _, each := range accounts {
			if each.UID == uid {
				gid = each.GID
				break
			}
		}
	} else if owner != "" && owner != "root" {
		found := false
		for _, each := range accounts {
			if each.Name == owner {
				uid, gid, found = each.UID, each.GID, true
				break
			}
		}
		if !found {
			return 0, 0, fmt.Errorf("the image has no user %q; create it in an earlier step", owner)
		}
	}
	if group == "" {
		return uid, gid, nil
	}
	if n, errNumber := strconv.ParseUint(group, 10, 31); errNumber == nil {
		return uid, int(n), nil
	}
	for _, each := range groups {
		if each.Name == group {
			return uid, each.GID, nil
		}
	}
	if group == "root" {
		return uid, 0, nil
	}
	return 0, 0, fmt.Errorf("the image has no group %q; create it in an earlier step", group)
}
