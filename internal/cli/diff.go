package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/org/imagebuild-action/internal/fault"
	"github.com/org/imagebuild-action/internal/manifest"
)

func (a *app) diffCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "diff A B",
		Short: "Say what differs between two images, by their manifests",
		Long: `Compares two content manifests (*.manifest.json.zst): paths with type, mode, owner,
size, content, link and xattrs; packages; users; services. Prints one line for
each difference and nothing when the images are the same.`,
		Example: "  imagebuild diff v1/golden-1.0.0.manifest.json.zst out/golden-1.1.0.manifest.json.zst",
		Args:    cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			differences, err := compareManifests(args[0], args[1])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a, differences)
			}
			for _, d := range differences {
				fmt.Fprintln(a.Stdout, a.secrets.String(d.String()))
			}
			fmt.Fprintln(a.Stderr, count(len(differences), "difference"))
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the differences as JSON")
	return c
}

func compareManifests(a, b string) ([]manifest.Difference, error) {
	left, err := os.Open(a)
	if err != nil {
		return nil, fault.Wrap(fault.Input, err)
	}
	defer left.Close()
	right, err := os.Open(b)
	if err != nil {
		return nil, fault.Wrap(fault.Input, err)
	}
	defer right.Close()
	differences, err := manifest.Compare(left, right)
	return differences, fault.Wrap(fault.Input, err)
}
