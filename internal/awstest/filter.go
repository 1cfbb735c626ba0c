package awstest

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
)

// matches applies EC2's filters: each must fit with one of its values. A field
// may have several values, or none.
func matches(filters any, tags map[string]string, fields map[string][]string) (bool, *failure) {
	all := true
	for _, each := range list(filters) {
		name := text(part(each)["Name"])
		values, known := fields[name]
		if key, ok := strings.CutPrefix(name, "tag:"); ok {
			known = true
			if value, ok := tags[key]; ok {
				values = []string{value}
			}
		}
		if name == "tag-key" {
			known = true
			for key := range tags {
				values = append(values, key)
			}
		}
		if !known {
			return false, refuse(http.StatusBadRequest, "InvalidParameterValue", "The filter '%s' is invalid", name)
		}
		patterns := texts(part(each)["Values"])
		all = all && slices.ContainsFunc(values, func(value string) bool {
			return slices.ContainsFunc(patterns, func(pattern string) bool { return wildcard(pattern, value) })
		})
	}
	return all, nil
}

// wildcard knows EC2's star, question mark and backslash.
func wildcard(pattern, value string) bool {
	if pattern == "" {
		return value == ""
	}
	rest := pattern[1:]
	switch {
	case pattern[0] == '*':
		for i := 0; i <= len(value); i++ {
			if wildcard(rest, value[i:]) {
				return true
			}
		}
		return false
	case pattern[0] == '\\' && rest != "":
		pattern, rest = rest, rest[1:]
	case pattern[0] == '?':
		return value != "" && wildcard(rest, value[1:])
	}
	return value != "" && value[0] == pattern[0] && wildcard(rest, value[1:])
}

// page cuts a list of ids down to those of one answer, before any filter: so a
// page may be empty, and another follow. Those that were asked for by name come
// all at once. least is the smallest page that the operation can be asked for.
func (s *Server) page(in object, all, wanted []string, least int64) (ids []string, next string, refused *failure) {
	if len(wanted) > 0 {
		if in["MaxResults"] != nil {
			return nil, "", refuse(http.StatusBadRequest, "InvalidParameterCombination", "The parameter maxResults cannot be used with a list of ids")
		}
		return slices.DeleteFunc(all, func(id string) bool { return !slices.Contains(wanted, id) }), "", nil
	}
	limit := s.opts.Page
	if asked := number(in["MaxResults"]); in["MaxResults"] != nil {
		if asked < least || asked > 1000 {
			return nil, "", refuse(http.StatusBadRequest, "InvalidParameterValue", "Value ( %d ) for parameter maxResults is invalid. Expecting a value between %d and 1000.", asked, least)
		}
		limit = min(limit, int(asked))
	}
	if token := text(in["NextToken"]); token != "" {
		from, err := base64.StdEncoding.DecodeString(token)
		id, ours := strings.CutPrefix(string(from), "from ")
		if err != nil || !ours {
			return nil, "", refuse(http.StatusBadRequest, "InvalidNextToken", "The specified NextToken is not valid.")
		}
		at, _ := slices.BinarySearch(all, id)
		all = all[at:]
	}
	if len(all) <= limit {
		return all, "", nil
	}
	return all[:limit], base64.StdEncoding.EncodeToString([]byte("from " + all[limit])), nil
}

// paged adds the next page's token, if there is one.
func paged(out object, next string) object {
	if next != "" {
		out["NextToken"] = next
	}
	return out
}
