package template

import (
	"fmt"
	"strings"
)

// The marks of an expression. A dollar sign more makes it plain text.
const (
	opening = "${{"
	closing = "}}"
	escaped = "$" + opening
)

// segment is a part of a scalar: plain text, or an expression.
type segment struct {
	text         string // when alternatives is empty
	alternatives []operand
}

// operand is one alternative of an expression: a look-up or a literal.
type operand struct {
	offset  int    // in the scalar's value, bytes
	scope   string // as "var"; empty for a literal
	name    string // as "release"
	literal string
}

// exprError is a fault in an expression's grammar.
type exprError struct {
	offset  int
	message string
}

func (e *exprError) Error() string { return e.message }

// parseText splits a scalar's value into text and expressions:
//
//	expression = "${{" operand { "||" operand } "}}"
//	operand    = scope "." name | "'" { character | "''" } "'"
func parseText(value string) ([]segment, error) {
	var segments []segment
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			segments = append(segments, segment{text: text.String()})
			text.Reset()
		}
	}
	for i := 0; i < len(value); {
		switch rest := value[i:]; {
		case strings.HasPrefix(rest, escaped):
			text.WriteString(opening)
			i += len(escaped)
		case strings.HasPrefix(rest, opening):
			flush()
			p := &exprParser{value: value, start: i, at: i + len(opening)}
			alternatives, err := p.expression()
			if err != nil {
				return nil, err
			}
			segments = append(segments, segment{alternatives: alternatives})
			i = p.at
		default:
			// Up to the next dollar sign nothing can begin.
			n := strings.IndexByte(rest[1:], '$') + 1
			if n == 0 {
				n = len(rest)
			}
			text.WriteString(rest[:n])
			i += n
		}
	}
	flush()
	return segments, nil
}

type exprParser struct {
	value     string
	start, at int
}

func (p *exprParser) fail(offset int, format string, args ...any) error {
	return &exprError{offset: offset, message: fmt.Sprintf(format, args...)}
}

func (p *exprParser) space() {
	for p.at < len(p.value) && strings.IndexByte(" \t\r\n", p.value[p.at]) >= 0 {
		p.at++
	}
}

func (p *exprParser) expression() ([]operand, error) {
	var alternatives []operand
	for {
		p.space()
		operand, err := p.operand()
		if err != nil {
			return nil, err
		}
		alternatives = append(alternatives, operand)
		p.space()
		switch rest := p.value[p.at:]; {
		case strings.HasPrefix(rest, closing):
			p.at += len(closing)
			return alternatives, nil
		case strings.HasPrefix(rest, "||"):
			p.at += len("||")
		case rest == "":
			return nil, p.fail(p.start, "the expression has no end; close it with }}, or write $${{ for a plain ${{")
		default:
			return nil, p.fail(p.at, "want || or }} here")
		}
	}
}

func (p *exprParser) operand() (operand, error) {
	at := p.at
	if p.at < len(p.value) && p.value[p.at] == '\'' {
		text, err := p.literal()
		return operand{offset: at, literal: text}, err
	}
	scope := p.identifier()
	if scope == "" {
		if at == len(p.value) {
			return operand{}, p.fail(p.start, "the expression has no end; close it with }}, or write $${{ for a plain ${{")
		}
		return operand{}, p.fail(at, "want a look-up like var.name, or a 'literal' in single quotes")
	}
	if p.at == len(p.value) || p.value[p.at] != '.' {
		return operand{}, p.fail(at, "%s is not a look-up; write one like var.%s, or put a literal in single quotes", scope, scope)
	}
	p.at++
	name := p.identifier()
	if name == "" {
		return operand{}, p.fail(p.at, "want a name after %s.", scope)
	}
	return operand{offset: at, scope: scope, name: name}, nil
}

func (p *exprParser) identifier() string {
	at := p.at
	for p.at < len(p.value) {
		c := p.value[p.at]
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (p.at == at || c != '-' && (c < '0' || c > '9')) {
			break
		}
		p.at++
	}
	return p.value[at:p.at]
}

func (p *exprParser) literal() (string, error) {
	at := p.at
	var text strings.Builder
	for p.at++; p.at < len(p.value); p.at++ {
		if p.value[p.at] != '\'' {
			text.WriteByte(p.value[p.at])
			continue
		}
		if p.at++; p.at == len(p.value) || p.value[p.at] != '\'' {
			return text.String(), nil
		}
		text.WriteByte('\'')
	}
	return "", p.fail(at, "the literal has no end; close it with a single quote")
}
