package iso

import "regexp"

// phase is a line by which an installer shows how far it has come.
type phase struct {
	mark *regexp.Regexp
	what string
}

// phases are in the order of an installation; each is told once.
var phases = []phase{
	{regexp.MustCompile(`Linux version \d`), "the installer's kernel has started"},
	{regexp.MustCompile(`(?i)(debian-installer|starting .*anaconda|anaconda installer|subiquity|cloud-init.* running|loading additional components|starting system log)`), "the installer has started"},
	{regexp.MustCompile(`(?i)(partition(s|ing)? |creating (disklabel|ext4|xfs|partition)|storage config)`), "the disk is being partitioned"},
	{regexp.MustCompile(`(?i)(installing the base system|unpacking|starting package installation|installing software|installing packages|curtin)`), "the system is being installed"},
	{regexp.MustCompile(`(?i)(boot ?loader|grub)`), "the boot loader is being installed"},
	{regexp.MustCompile(`(?i)(post-installation|installation complete|finishing the installation|installation finished|final system)`), "the installer is finishing"},
}

// question is a text after which an installer waits for a person.
type question struct {
	text *regexp.Regexp
	what string
}

var questions = []question{
	{regexp.MustCompile(`Prompt: '\?' for help`), "the Debian installer has no answer to a question"},
	{regexp.MustCompile(`<(Go Back|Continue|Cancel)>|<Yes> +<No>`), "a dialogue is open"},
	{regexp.MustCompile(`Please make (a|your) (selection|choice) from`), "Anaconda has no answer to a question"},
	{regexp.MustCompile(`(?i)continue with autoinstall\?`), "subiquity has no autoinstall among the kernel's parameters"},
	{regexp.MustCompile(`(?i)press (any key|enter|return|\[enter\]|<enter>)`), "it waits for a key"},
	{regexp.MustCompile(`(?i)\(?\[?(yes/no|y/n)\]?\)? ?[:?]? ?$`), "it wants yes or no"},
	{regexp.MustCompile(`(?i)(pane is dead|installer will now terminate|kickstart insufficient)`), "it gave up"},
	{regexp.MustCompile(`^(~|/|\S*@\S+:\S*|\[.*@.*\])? ?[#$]$|^\(initramfs\)$`), "a shell is open"},
	{regexp.MustCompile(`(?i)passphrase( for .*)?: ?$`), "it wants a passphrase"},
}

// asksFor tells whether a text, which is the last that an installer wrote, is a
// question.
func asksFor(text string) (what string, asks bool) {
	for _, q := range questions {
		if q.text.MatchString(text) {
			return q.what, true
		}
	}
	return "", false
}
