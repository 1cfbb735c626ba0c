// Package redact masks sensitive values wherever text leaves the process.
//
// A value is masked as it is, line by line when it has several lines, and in
// its base64 and URL-escaped spellings. Values shorter than MinLength are
// refused, because masking them would hide nothing and garble everything.
package redact

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Mask replaces a sensitive value.
const Mask = "***"

// MinLength is the shortest value, in bytes, that can be masked.
const MinLength = 4

// Set is a set of sensitive values. The zero value masks nothing; a nil *Set
// is valid and masks nothing. It is safe for concurrent use.
type Set struct {
	mu       sync.RWMutex
	values   []string
	replacer *strings.Replacer
}

// Add registers a value and its common encodings.
func (s *Set) Add(value string) error {
	if value == "" {
		return nil
	}
	if len(value) < MinLength {
		return fmt.Errorf("a sensitive value of %d bytes is too short to mask; use at least %d", len(value), MinLength)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	candidates := []string{
		value, url.QueryEscape(value), url.PathEscape(value),
		base64.StdEncoding.EncodeToString([]byte(value)), base64.RawURLEncoding.EncodeToString([]byte(value)),
	}
	for line := range strings.Lines(value) {
		candidates = append(candidates, strings.TrimRight(line, "\r\n"))
	}
	for _, each := range candidates {
		if len(each) >= MinLength && !slices.Contains(s.values, each) {
			s.values = append(s.values, each)
		}
	}
	slices.SortFunc(s.values, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	pairs := make([]string, 0, 2*len(s.values))
	for _, each := range s.values {
		pairs = append(pairs, each, Mask)
	}
	s.replacer = strings.NewReplacer(pairs...)
	return nil
}

// String returns text with every sensitive value masked.
func (s *Set) String(text string) string {
	if s == nil {
		return text
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.replacer == nil {
		return text
	}
	return s.replacer.Replace(text)
}

// Values lists what is masked, with the encodings: for a log that masks too.
func (s *Set) Values() []string {
	if s == nil {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.values)
}
