echo first argument: $1
echo variable: $NAME
