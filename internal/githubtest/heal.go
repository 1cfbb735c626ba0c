package githubtest

// Heal ends all scripted faults, whether they have happened or not.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts = nil
}
