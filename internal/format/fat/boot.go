package fat

import "encoding/binary"

// finish writes the boot sector, the information sector, their backups and the
// allocation tables.
func (v *volume) finish() error {
	boot, info := v.bootSector(), v.infoSector()
	table := make([]byte, 4*len(v.table))
	for i, next := range v.table {
		binary.LittleEndian.PutUint32(table[4*i:], next)
	}
	for _, part := range []struct {
		sector int64
		data   []byte
	}{
		{0, boot},
		{1, info},
		{2, signed()},
		{backupBootSector, boot},
		{backupBootSector + 1, info},
		{backupBootSector + 2, signed()},
		{reservedSectors, table},
		{reservedSectors + v.fatSectors, table},
	} {
		if err := v.writeSector(part.sector, part.data); err != nil {
			return err
		}
	}
	return nil
}

func signed() []byte {
	b := make([]byte, sectorBytes)
	b[510], b[511] = 0x55, 0xaa
	return b
}

func (v *volume) bootSector() []byte {
	b := signed()
	le := binary.LittleEndian
	copy(b, []byte{0xeb, 0x58, 0x90}) // a jump over the parameters, to a halt
	copy(b[3:], "IMGBUILD")
	le.PutUint16(b[11:], sectorBytes)
	b[13] = 1 // sectors a cluster
	le.PutUint16(b[14:], reservedSectors)
	b[16] = fats
	b[21] = mediaFixed
	le.PutUint16(b[24:], 63)  // sectors a track, as every disk pretends
	le.PutUint16(b[26:], 255) // heads
	le.PutUint32(b[28:], uint32(v.HiddenBytes/sectorBytes))
	le.PutUint32(b[32:], uint32(v.SizeBytes/sectorBytes))
	le.PutUint32(b[36:], uint32(v.fatSectors))
	le.PutUint32(b[44:], rootCluster)
	le.PutUint16(b[48:], 1) // the information sector
	le.PutUint16(b[50:], backupBootSector)
	b[64] = 0x80 // drive number
	b[66] = 0x29 // the three fields that follow are there
	le.PutUint32(b[67:], v.VolumeID)
	label := v.Label
	if label == "" {
		label = "NO NAME"
	}
	copy(b[71:], pad(label))
	copy(b[82:], "FAT32   ")
	copy(b[90:], []byte{0xf4, 0xeb, 0xfd}) // halt, for ever
	return b
}

func (v *volume) infoSector() []byte {
	b := signed()
	le := binary.LittleEndian
	copy(b, "RRaA")
	copy(b[484:], "rrAa")
	used := int64(len(v.table) - rootCluster)
	le.PutUint32(b[488:], uint32(v.clusters-used))
	le.PutUint32(b[492:], uint32(len(v.table)-1)) // the cluster allocated last
	return b
}
