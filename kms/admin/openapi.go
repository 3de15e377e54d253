package admin

import (
	"encoding"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// object is a JSON object of the document.
type object = map[string]any

// OpenAPI is the document of the administration, OpenAPI 3.1. It is made of
// the table of routes that the handlers are made of, and of their types.
func (a *API) OpenAPI() any {
	types := schemas{}
	paths := object{}
	for _, r := range a.routes {
		path, ok := paths[r.Path].(object)
		if !ok {
			path = object{}
			paths[r.Path] = path
		}
		path[strings.ToLower(r.Method)] = types.operation(r)
	}

	types.of(reflect.TypeFor[Problem]())
	return object{
		"openapi": "3.1.0",
		"info": object{
			"title": "latchkey-kms administration", "version": "1",
			"description": "Over the Unix socket of the data folder no authorization is needed; over HTTPS a bearer token or a client certificate, " +
				"of the scope that the operation names in x-scope: read, approve or admin, each of which contains the one before. " +
				"Who is bounded to machines with labels may use what x-reach says: within is answered as if there were no other machines, same is the same for everybody, whole is refused.",
		},
		"paths":      paths,
		"security":   []any{object{"token": []string{}}, object{"certificate": []string{}}},
		"components": object{"schemas": types, "securitySchemes": object{"token": object{"type": "http", "scheme": "bearer"}, "certificate": object{"type": "mutualTLS"}}},
	}
}

// failures are the statuses beside 200, the same for all operations.
var failures = map[int]string{
	http.StatusBadRequest:            "the request is wrong: the error says what",
	http.StatusUnauthorized:          "HTTPS: no valid token and no listed certificate",
	http.StatusForbidden:             "HTTPS: another scope is needed",
	http.StatusNotFound:              "there is no such one",
	http.StatusConflict:              "it may not be, as things are: the error says why",
	http.StatusRequestEntityTooLarge: "the body is too large",
	http.StatusInternalServerError:   "the database cannot be verified",
	http.StatusServiceUnavailable:    "the store does not take writes",
}

// schemas are the types that the document refers to, by name.
type schemas object

func (types schemas) operation(r Route) object {
	o := object{"summary": r.Doc, "operationId": operationID(r), "x-scope": string(r.Scope), "x-reach": r.Reaching.String()}
	var parameters []any
	for _, p := range r.Query {
		schema := object{"type": "string"}
		switch p.Kind {
		case "integer", "boolean":
			schema["type"] = p.Kind
		case "date-time", "uuid":
			schema["format"] = p.Kind
		}
		parameters = append(parameters, object{"name": p.Name, "in": "query", "required": p.Required, "description": p.Doc, "schema": schema})
	}

	if parameters != nil {
		o["parameters"] = parameters
	}
	if r.Body != nil {
		o["requestBody"] = object{"required": true, "content": types.content(r.Body, "application/octet-stream")}
		types.optional(reflect.TypeOf(r.Body))
	}

	media := r.Media
	if media == "" {
		media = "application/json"
	}
	responses := object{"200": object{"description": "done", "content": types.content(r.Answer, media)}}
	for status, why := range failures {
		responses[strconv.Itoa(status)] = object{"description": why, "content": types.content(Problem{}, "")}
	}

	o["responses"] = responses
	return o
}

// optional: what is not sent is as if it were zero. The types of bodies are
// in no answer.
func (types schemas) optional(t reflect.Type) {
	if o, ok := types[schemaName(t)].(object); ok {
		o["required"] = []string{}
	}
}

func operationID(r Route) string {
	return strings.ToLower(r.Method) + strings.NewReplacer("/v1", "", "/", "-").Replace(r.Path)
}

// content says what a body is: bytes as they are, events whose data is JSON,
// or JSON.
func (types schemas) content(v any, media string) object {
	if _, raw := v.([]byte); raw {
		return object{media: object{}}
	}
	if media != "text/event-stream" {
		media = "application/json"
	}
	return object{media: object{"schema": types.of(reflect.TypeOf(v))}}
}

var (
	timeType = reflect.TypeFor[time.Time]()
	textType = reflect.TypeFor[encoding.TextMarshaler]()
)

// of is the schema of a type as encoding/json writes it.
func (types schemas) of(t reflect.Type) object {
	switch {
	case t == timeType:
		return object{"type": "string", "format": "date-time"}
	case t.Kind() != reflect.Pointer && t.Implements(textType):
		return object{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return object{"anyOf": []any{types.of(t.Elem()), object{"type": "null"}}}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}

	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string", "contentEncoding": "base64"}
		}
		return object{"type": []string{"array", "null"}, "items": types.of(t.Elem())}
	case reflect.Map:
		return object{"type": []string{"object", "null"}, "additionalProperties": types.of(t.Elem())}

	case reflect.Struct:
		if t.Name() == "" {
			return types.fields(t)
		}
		name := schemaName(t)
		if _, known := types[name]; !known {
			types[name] = object{} // a type may hold itself
			types[name] = types.fields(t)
		}
		return object{"$ref": "#/components/schemas/" + name}
	}
	return object{"type": "integer"} // what is left are numbers, all whole
}

// schemaName is the package's and the type's name; what a keeper shows is
// named after its protocol.
func schemaName(t reflect.Type) string {
	path := strings.TrimSuffix(t.PkgPath(), "/keeper")
	return path[strings.LastIndex(path, "/")+1:] + "." + t.Name()
}

func (types schemas) fields(t reflect.Type) object {
	properties, required := object{}, []string{}
	types.collect(t, properties, &required)
	slices.Sort(required)
	return object{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
}

// collect gathers the fields, those of embedded structs too.
func (types schemas) collect(t reflect.Type, properties object, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, tagged := f.Tag.Lookup("json")
		name, options, _ := strings.Cut(tag, ",")
		if f.Anonymous && !tagged {
			types.collect(f.Type, properties, required)
			continue
		}

		if !f.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}

		properties[name] = types.of(f.Type)
		if !strings.Contains(options, "omit") {
			*required = append(*required, name)
		}
	}
}

// documentRoutes serve the document.
func (a *API) documentRoutes() []Route {
	return []Route{{
		Method: "GET", Path: "/v1/openapi.json", Scope: ScopeRead, Reaching: SameForAll, Doc: "Shows this document.", Answer: []byte{}, Media: "application/json",
		Stream: func(w http.ResponseWriter, _ *http.Request) { writeResult(w, a.OpenAPI(), nil) },
	}}
}
