package guestweb

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// fileHandler serves files from memory.
type fileHandler struct {
	files map[string][]byte
	note  func(Read)

	mu   sync.Mutex
	told int
}

// ServeHTTP implements http.Handler.
func (h *fileHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status := http.StatusOK
	content, found := h.files[strings.TrimPrefix(r.URL.Path, "/")]
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		status = http.StatusMethodNotAllowed
	case r.ContentLength != 0:
		status = http.StatusRequestEntityTooLarge
	case !found:
		status = http.StatusNotFound
	}
	if status != http.StatusOK {
		content = []byte(http.StatusText(status) + "\n")
		w.Header().Set("Connection", "close")
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(content)
	}
	h.tell(Read{r.Method, r.URL.Path[:min(len(r.URL.Path), maxPath)], status})
}

func (h *fileHandler) tell(r Read) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.told++; h.note != nil && h.told <= maxTold {
		h.note(r)
	}
}
