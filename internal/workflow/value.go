package workflow

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// maxDepth is how deep lists and objects may lie in one another.
const maxDepth = 64

// Member is one key of an Object with its value.
type Member struct {
	Name  string
	Value any // nil, bool, float64, string, []any or Object
}

// Object is a JSON object that keeps the order of its keys. As in GitHub's
// expressions, the case of a key does not matter.
type Object []Member

// Get returns the value under a key.
func (o Object) Get(name string) (value any, ok bool) {
	for _, m := range o {
		if strings.EqualFold(m.Name, name) {
			return m.Value, true
		}
	}
	return nil, false
}

// set returns the object with a key set.
func (o Object) set(name string, value any) Object {
	for i, m := range o {
		if strings.EqualFold(m.Name, name) {
			o[i].Value = value
			return o
		}
	}
	return append(o, Member{name, value})
}

// MarshalJSON keeps the order of the keys.
func (o Object) MarshalJSON() ([]byte, error) {
	out := bytes.NewBufferString("{")
	for i, m := range o {
		if i > 0 {
			out.WriteByte(',')
		}
		for j, each := range []any{m.Name, m.Value} {
			if j > 0 {
				out.WriteByte(':')
			}
			text, err := compact(each)
			if err != nil {
				return nil, err
			}
			out.WriteString(text)
		}
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// compact is a value as JSON in one line.
func compact(value any) (string, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return strings.TrimSuffix(out.String(), "\n"), err
}

// Text is a value as GitHub puts it into text. A list or an object, for which
// GitHub has no text of use, is its JSON.
func Text(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return number(v)
	case string:
		return v
	}
	text, err := compact(value)
	if err != nil {
		return "" // an infinite number inside: JSON has no word for it
	}
	return text
}

// number is a number in the spelling of GitHub's expressions: at most fifteen
// significant digits, so that 3.10 becomes 3.1.
func number(n float64) string {
	switch {
	case math.IsInf(n, 1):
		return "Infinity"
	case math.IsInf(n, -1):
		return "-Infinity"
	case n == 0:
		return "0"
	}
	return strconv.FormatFloat(n, 'G', 15, 64)
}

// ParseMatrix reads a matrix as an action is given it: the JSON text of
// ${{ toJSON(matrix) }}. Outside of a matrix that is empty, null or {}, and
// the object is empty.
func ParseMatrix(text string) (Object, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	value, err := fromJSON(text)
	if err != nil {
		return nil, fmt.Errorf("matrix: %w", err)
	}
	object, ok := value.(Object)
	if !ok && value != nil {
		return nil, fmt.Errorf("matrix: want a JSON object, found %s", describe(value))
	}
	return object, nil
}

// fromJSON reads JSON and keeps the order of keys.
func fromJSON(text string) (any, error) {
	decoder := json.NewDecoder(strings.NewReader(text))
	value, err := decode(decoder, 0)
	if err == nil {
		if _, after := decoder.Token(); !errors.Is(after, io.EOF) {
			err = errors.New("text after its end")
		}
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("it ends too early")
	}
	if err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	return value, nil
}

func decode(decoder *json.Decoder, depth int) (any, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	open, ok := token.(json.Delim)
	if !ok {
		return token, nil
	}
	if depth > maxDepth {
		return nil, errors.New("too many lists and objects in one another")
	}
	list, object := []any{}, Object{}
	for decoder.More() {
		var name string
		if open == '{' {
			key, err := decoder.Token()
			if err != nil {
				return nil, err
			}
			name, _ = key.(string)
		}
		item, err := decode(decoder, depth+1)
		if err != nil {
			return nil, err
		}
		if open == '{' {
			object = object.set(name, item)
		} else {
			list = append(list, item)
		}
	}
	if _, err := decoder.Token(); err != nil {
		return nil, err
	}
	if open == '{' {
		return object, nil
	}
	return list, nil
}

// describe says what a value is, for messages.
func describe(value any) string {
	switch v := value.(type) {
	case nil:
		return "nothing"
	case bool:
		return Text(v)
	case float64:
		return "the number " + Text(v)
	case string:
		if runes := []rune(v); len(runes) > 40 {
			v = string(runes[:40]) + "..."
		}
		return "the text " + strconv.Quote(v)
	case []any:
		return "a list"
	}
	return "an object"
}

// truthy is what counts as true in an expression.
func truthy(value any) bool {
	switch v := value.(type) {
	case nil:
		return false
	case bool:
		return v
	case float64:
		return v != 0 && !math.IsNaN(v)
	case string:
		return v != ""
	}
	return true
}

// toNumber is how expressions compare values of different types; NaN equals
// nothing.
func toNumber(value any) float64 {
	switch v := value.(type) {
	case nil:
		return 0
	case bool:
		if v {
			return 1
		}
		return 0
	case float64:
		return v
	case string:
		v = strings.TrimSpace(v)
		if v == "" {
			return 0
		}
		if based.MatchString(v) {
			if n, err := strconv.ParseUint(v, 0, 31); err == nil {
				return float64(n)
			}
		}
		if decimal.MatchString(v) {
			if n, err := strconv.ParseFloat(v, 64); err == nil {
				return n
			}
		}
	}
	return math.NaN()
}

// equal is the == of expressions: strings regardless of case, different types
// as numbers, lists and objects never.
func equal(a, b any) bool {
	left, isText := a.(string)
	if right, ok := b.(string); ok && isText {
		return strings.EqualFold(left, right)
	}
	if a == nil && b == nil {
		return true
	}
	return toNumber(a) == toNumber(b)
}
