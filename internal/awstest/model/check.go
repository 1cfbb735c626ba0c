package model

import (
	"fmt"
	"slices"
	"time"
)

// Check compares a structure with the shape that a reference names.
func (s *Service) Check(ref *Ref, value Object) error {
	return s.check(s.shape(ref), value, ref.Shape)
}

func (s *Service) check(shape *Shape, value any, at string) error {
	wrong := func() error { return fmt.Errorf("%s is %T, and the model wants %s", at, value, shape.Type) }
	switch shape.Type {
	case "structure":
		object, ok := value.(Object)
		if !ok {
			return wrong()
		}
		return s.checkMembers(shape, object, at)
	case "list":
		list, ok := value.([]any)
		if !ok {
			return wrong()
		}
		if err := shape.within(int64(len(list)), at, "elements"); err != nil {
			return err
		}
		for i, each := range list {
			if err := s.check(s.shape(shape.Member), each, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	case "string":
		text, ok := value.(string)
		if !ok {
			return wrong()
		}
		if shape.pattern != nil && !shape.pattern.MatchString(text) {
			return fmt.Errorf("%s: %q does not fit the model's pattern %s", at, text, shape.Pattern)
		}
		if len(shape.Enum) > 0 && !slices.Contains(shape.Enum, text) {
			return fmt.Errorf("%s: %q is none of %v", at, text, shape.Enum)
		}
		return shape.within(int64(len(text)), at, "characters")
	case "integer", "long":
		n, ok := value.(int64)
		if !ok {
			return wrong()
		}
		return shape.within(n, at, "")
	case "boolean":
		if _, ok := value.(bool); !ok {
			return wrong()
		}
	case "blob":
		if _, ok := value.([]byte); !ok {
			return wrong()
		}
	case "timestamp":
		if _, ok := value.(time.Time); !ok {
			return wrong()
		}
	default:
		return fmt.Errorf("%s has the type %s, which nobody here reads", at, shape.Type)
	}
	return nil
}

func (s *Service) checkMembers(shape *Shape, object Object, at string) error {
	for _, name := range shape.Required {
		if object[name] == nil {
			return fmt.Errorf("%s lacks %s, which the model demands", at, name)
		}
	}
	for name, value := range object {
		ref, known := shape.Members[name]
		if !known {
			return fmt.Errorf("%s has no member %s in the model", at, name)
		}
		if err := s.check(s.shape(ref), value, at+"."+name); err != nil {
			return err
		}
	}
	return nil
}

func (shape *Shape) within(n int64, at, what string) error {
	if shape.Min != nil && n < *shape.Min || shape.Max != nil && n > *shape.Max {
		return fmt.Errorf("%s: %d %s is out of the model's range", at, n, what)
	}
	return nil
}
