#!/usr/bin/env bash
set -euo pipefail
# shellcheck disable=SC2016 # a variable's name, not its value
usage='usage: bash launch/prepare_tfds.sh NAME [DATA_DIR]

Downloads and prepares a set of tensorflow-datasets as array_record, which training reads without
TensorFlow: --config.data.name=tfds:NAME --config.data.dir=DATA_DIR

NAME      caltech_birds2011, stanford_dogs, ... (https://www.tensorflow.org/datasets/catalog)
DATA_DIR  default: $TFDS_DATA_DIR or ~/tensorflow_datasets, which is what an empty data.dir means

An archive that is in DATA_DIR/downloads/manual already, under its own name, is not downloaded.
'
dead='Two sets of tensorflow-datasets have dead links:
cars196           404. Unpack the official files and use --config.data.name=cars, or put
                  cars_train.tgz, cars_test.tgz, car_devkit.tgz and cars_test_annos_withlabels.mat
                  into DATA_DIR/downloads/manual.
i_naturalist2017  403. Unpack the archives that https://github.com/visipedia/inat_comp links to and
                  use --config.data.name=inat17.'
if [[ $# -lt 1 || $# -gt 2 || $1 == -* ]]; then
  printf '%s\n%s\n' "$usage" "$dead"
  [[ ${1:-} == --help ]] && exit 0 || exit 2
fi
case $1 in cars196* | i_naturalist2017*) echo "$dead" >&2 ;; esac
data_dir=${2:-}
[[ -z $data_dir || $data_dir == /* ]] || data_dir=$PWD/$data_dir
cd "$(dirname "$0")/.."
source launch/venv.sh requirements-tfds.txt
python - "$1" "$data_dir" <<'PYTHON'
import sys

import tensorflow_datasets as tfds

from aftrans_jax.data.sets.tfds import read_tfds

name, data_dir = sys.argv[1:]
tfds.builder(name, data_dir=data_dir or None).download_and_prepare(file_format="array_record")
try:
    _, train, test, class_names, _ = read_tfds(name, data_dir)
except ValueError as error:
    sys.exit(str(error))
print(f"{len(train)} training and {len(test)} test images of {len(class_names)} classes are ready:")
print(f"--config.data.name=tfds:{name} --config.data.dir={data_dir}")
PYTHON
